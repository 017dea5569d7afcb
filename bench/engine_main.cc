// sluice bench engine: the engine's speed on this machine, without HTTP.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "bench/engine_bench.h"

namespace sluice::bench {
namespace {

constexpr WeightFormat kDummyFormats[] = {
    WeightFormat::kBF16, WeightFormat::kF16,  WeightFormat::kF32, WeightFormat::kQ8_0,  WeightFormat::kQ6_K,
    WeightFormat::kQ4_K, WeightFormat::kQ4_0, WeightFormat::kF8,  WeightFormat::kI4_32, WeightFormat::kI4_64};
constexpr DType kCaches[] = {DType::kBF16, DType::kF16, DType::kF8, DType::kF32, DType::kI8};

int run(int argc, char** argv) {
  CLI::App app(
      "Measures the engine without HTTP: a decoding step at each batch size and a prompt at each length, as "
      "a "
      "share of what this machine's memory and arithmetic allow, which is measured first.\n"
      "Example: sluice bench engine config.json --load-format dummy --batch 1,8 --context 256",
      "sluice bench engine");
  EngineBenchOptions options;
  options.engine.max_num_batched_tokens = 8192;
  std::string load_format = "auto", weights = "BF16", cache = "bf16", json;
  const auto some = CLI::Range(1, 1 << 20);
  app.add_option("model", options.model,
                 "A GGUF file, a Hugging Face directory, or with random weights its "
                 "config.json.")
      ->required();
  app.add_option("--load-format", load_format, "auto, or dummy: random weights.")
      ->check(CLI::IsMember({"auto", "dummy"}))
      ->capture_default_str();
  std::vector<std::string> weight_names, cache_names;
  for (const WeightFormat format : kDummyFormats) weight_names.emplace_back(facts_of(format).name);
  for (const DType type : kCaches) cache_names.emplace_back(name_of(type));
  app.add_option("--dummy-weights", weights, "Format of random weights.")
      ->check(CLI::IsMember(weight_names))
      ->capture_default_str();
  app.add_option("--quantization,-q", options.quantization, "As sluice serve has it.");
  app.add_option("--kv-cache-dtype", cache, "Of the KV cache, as far as the device has it.")
      ->check(CLI::IsMember(cache_names))
      ->capture_default_str();
  app.add_option("--device", options.backend.device, "auto, cpu, cuda, cuda:N or reference.")
      ->capture_default_str();
  app.add_option("--threads", options.backend.threads, "Of the CPU; 0: one per physical core.")
      ->capture_default_str();
  app.add_option("--batch", options.batches, "Sequences that decode together, one run each.")
      ->delimiter(',')
      ->check(some)
      ->capture_default_str();
  app.add_option("--context", options.context, "Tokens of each sequence before.")
      ->check(some)
      ->capture_default_str();
  app.add_option("--prompt", options.prompts, "Lengths of prompts, one run each.")
      ->delimiter(',')
      ->check(some)
      ->capture_default_str();
  app.add_option("--max-num-batched-tokens", options.engine.max_num_batched_tokens, "Of a step.")
      ->check(some)
      ->capture_default_str();
  app.add_option("--steps", options.steps, "Decoding steps measured in a round.")
      ->check(some)
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "Of which the median is told.")
      ->check(some)
      ->capture_default_str();
  app.add_flag("--deterministic", options.backend.deterministic, "As sluice serve has it.");
  bool eager = false, one_at_a_time = false;
  app.add_flag("--enforce-eager", eager, "As sluice serve has it.");
  app.add_flag("--no-async-scheduling", one_at_a_time, "As sluice serve has it.");
  app.add_option("--json", json, "File to write the figures to.");
  CLI11_PARSE(app, argc, argv);
  options.dummy = load_format == "dummy";
  for (const WeightFormat format : kDummyFormats)
    if (facts_of(format).name == weights) options.dummy_format = format;
  for (const DType type : kCaches)
    if (name_of(type) == cache) options.engine.kv_cache_dtype = type;
  options.backend.graphs = !eager;
  options.engine.async_scheduling = !one_at_a_time;

  const auto figures =
      bench_engine(options, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
  if (!figures.ok()) {
    std::fprintf(stderr, "sluice bench engine: %s\n", figures.error().message.c_str());
    return 1;
  }
  std::fputs(as_table(*figures).c_str(), stdout);
  if (json.empty()) return 0;
  std::ofstream file(json);
  file << as_json(*figures, options);
  if (file.flush()) return 0;
  std::fprintf(stderr, "sluice bench engine: '%s' cannot be written.\n", json.c_str());
  return 1;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc, argv);
}
