#include "server/options_simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

namespace sluice {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = size_t{64} << 10;
constexpr int kDefaultAnswer = 256;

// No cost at all: what remains is the server itself.
CostModel instant() {
  return {.name = "instant", .max_num_batched_tokens = 8192, .answer_tokens = kDefaultAnswer};
}

// The realistic engine of SMG's mock worker (github.com/lightseekorg/smg, crates/mock_worker): 8000 prompt
// tokens a second in chunks of 2048, a step of 6.0 ms + 0.35 ms for each running sequence, at most 256 of
// them, a KV cache of 524,288 tokens in blocks of 16.
CostModel smg() {
  return {.name = "smg",
          .cost = {.step_seconds = 6.0e-3,
                   .prefill_token_seconds = 1.0 / 8000,
                   .decode_sequence_seconds = 0.35e-3},
          .answer_tokens = kDefaultAnswer};
}

// Llama-3.1-8B in bf16 on one H100 SXM. A step alone takes 5.1 ms, as measured with CUDA graphs (the weights'
// 16 GB at 3.35 TB/s are 4.8); a token of context is 32 layers * 8 heads * 128 * 2 * 2 bytes = 131,072 bytes
// at 3.35 TB/s; 0.02 ms for a sequence itself makes the 12,500 tokens a second that vLLM is said to reach at
// 256 sequences of some 1,000 tokens; a prompt token is 16 GFLOP at half of the 989 TFLOP/s, a pair in its
// attention 32 layers * 4 * 4096 FLOP at the same; the cache is nine tenths of 80 GB without the weights.
CostModel h100_8b() {
  return {.name = "h100-8b",
          .cost = {.step_seconds = 5.1e-3,
                   .prefill_token_seconds = 32.5e-6,
                   .decode_sequence_seconds = 0.02e-3,
                   .context_token_seconds = 39e-9,
                   .prefill_pair_seconds = 1.06e-9},
          .max_num_batched_tokens = 8192,
          .max_model_len = 131072,
          .kv_tokens = 427008,
          .answer_tokens = kDefaultAnswer};
}

// What vllm-project/router assumes for its scheduling of programs: a prompt of k thousand tokens takes 0.066
// + 0.0570 k + 0.00441 k^2 s, a step 10.6 ms + 0.419 ms a sequence + 1.42e-7 s a token of context. The
// constant of a prompt is left out: the step's own stands for it.
CostModel vllm_program() {
  return {.name = "vllm-program",
          .cost = {.step_seconds = 10.6e-3,
                   .prefill_token_seconds = 57.0e-6,
                   .decode_sequence_seconds = 0.419e-3,
                   .context_token_seconds = 1.42e-7,
                   .prefill_pair_seconds = 2 * 4.41e-9},
          .max_num_batched_tokens = 8192,
          .max_model_len = 131072,
          .answer_tokens = kDefaultAnswer};
}

constexpr std::array<std::string_view, 4> kNames = {"instant", "smg", "h100-8b", "vllm-program"};

std::optional<CostModel> built_in(std::string_view name) {
  for (const auto make : {instant, smg, h100_8b, vllm_program}) {
    if (CostModel model = make(); model.name == name) return model;
  }
  return std::nullopt;
}

std::string list_names() {
  std::string names;
  for (const std::string_view name : kNames) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

// ---- the file ----

struct Field {
  const char* name;
  double low, high;
  bool whole;
  void (*put)(CostModel& model, double value);
};

constexpr double kDay = 86400;
constexpr Field kFields[] = {
    {"step_ms", 0, 60000, false, [](CostModel& m, double v) { m.cost.step_seconds = v / 1e3; }},
    {"prefill_tokens_per_s", 1, 1e12, false,
     [](CostModel& m, double v) { m.cost.prefill_token_seconds = 1 / v; }},
    {"decode_sequence_ms", 0, 60000, false,
     [](CostModel& m, double v) { m.cost.decode_sequence_seconds = v / 1e3; }},
    {"context_token_ns", 0, 1e9, false,
     [](CostModel& m, double v) { m.cost.context_token_seconds = v / 1e9; }},
    {"prefill_pair_ns", 0, 1e6, false, [](CostModel& m, double v) { m.cost.prefill_pair_seconds = v / 1e9; }},
    {"max_num_seqs", 1, 1 << 16, true, [](CostModel& m, double v) { m.max_num_seqs = static_cast<int>(v); }},
    {"max_num_batched_tokens", 1, 1 << 28, true,
     [](CostModel& m, double v) { m.max_num_batched_tokens = static_cast<int>(v); }},
    {"block_size", 16, 1024, true, [](CostModel& m, double v) { m.block_size = static_cast<int>(v); }},
    {"max_model_len", 2, 1 << 28, true,
     [](CostModel& m, double v) { m.max_model_len = static_cast<int>(v); }},
    {"kv_tokens", 16, 1 << 28, true, [](CostModel& m, double v) { m.kv_tokens = static_cast<int64_t>(v); }},
    {"answer_tokens", 0, 1 << 28, true,
     [](CostModel& m, double v) { m.answer_tokens = static_cast<int>(v); }},
    {"mean_answer_tokens", 0, 1 << 28, true,
     [](CostModel& m, double v) { m.mean_answer_tokens = static_cast<int>(v); }},
    {"load_s", 0, kDay, false, [](CostModel& m, double v) { m.load_seconds = v; }},
};

Error wrong(const std::string& path, const std::string& what) {
  return invalid_argument("--simulate", "--simulate " + path + ": " + what);
}

Status put_field(CostModel& model, const std::string& path, const std::string& name, const json& value) {
  const Field* field = std::ranges::find(kFields, name, [](const Field& f) { return std::string(f.name); });
  if (field == std::end(kFields)) {
    std::string known = "base";
    for (const Field& f : kFields) known += std::string(", ") + f.name;
    return wrong(path, fmt::format("there is no field '{}'; the fields are {}.", name.substr(0, 100), known));
  }
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!(number >= field->low && number <= field->high) || (field->whole && number != std::floor(number))) {
    return wrong(path, fmt::format("{} must be a {} from {} to {}.", name,
                                   field->whole ? "whole number" : "number", field->low, field->high));
  }
  field->put(model, number);
  return {};
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (in.bad() || !in.is_open() || text.empty()) {
    return wrong(path, fmt::format("is neither one of {} nor a file that can be read.", list_names()));
  }
  if (text.size() > kMaxFileBytes) return wrong(path, "the file is larger than 64 KiB.");
  return text;
}

Result<json> parse_fields(const std::string& path, const std::string& text) {
  std::string twice;
  std::vector<std::string> seen;
  const auto note = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event != json::parse_event_t::key || depth != 1) return true;
    const auto& key = parsed.get_ref<const std::string&>();
    if (std::ranges::find(seen, key) != seen.end()) twice = key;
    seen.push_back(key);
    return true;
  };
  json object = json::parse(text, note, /*allow_exceptions=*/false);
  if (!object.is_object()) return wrong(path, "must hold one JSON object.");
  if (!twice.empty()) return wrong(path, "the field '" + twice.substr(0, 100) + "' stands there twice.");
  return object;
}

std::string name_of_file(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(".json") && name.size() > 5) name.resize(name.size() - 5);
  return name;
}

}  // namespace

std::span<const std::string_view> built_in_cost_models() {
  return kNames;
}

Result<CostModel> read_cost_model(const std::string& name_or_path) {
  if (auto known = built_in(name_or_path)) return *known;
  const std::string& path = name_or_path;
  SLUICE_ASSIGN(const std::string text, read_file(path));
  SLUICE_ASSIGN(const json object, parse_fields(path, text));
  CostModel model = instant();
  if (const auto base = object.find("base"); base != object.end()) {
    const auto known = base->is_string() ? built_in(base->get_ref<const std::string&>()) : std::nullopt;
    if (!known) return wrong(path, "base must be one of " + list_names() + ".");
    model = *known;
  }
  for (const auto& [name, value] : object.items()) {
    if (name != "base") SLUICE_TRY(put_field(model, path, name, value));
  }
  model.name = name_of_file(path);
  return model;
}

}  // namespace sluice
