#include "router/io/body_scan.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "server/wire/json_walk.h"

namespace sluice::router {
namespace {

constexpr size_t kMaxName = 256;  // of a model, a user, a salt

std::optional<double> number(std::string_view value) {
  double parsed = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc() || end != value.data() + value.size()) return std::nullopt;
  return parsed;
}

bool is_null(std::string_view value) {
  return value == "null";
}

struct Scan {
  BodyScan out;
  std::string_view body;

  void take(std::string_view name, std::string_view value) {
    // Where a null stands, something else may have to.
    if (name == "model") out.model_text = value;
    if (name == "seed") out.seed_text = value;
    if (name == "return_token_ids") out.token_ids_text = value;
    if (is_null(value)) return;
    switch (name.size()) {
      case 1:
        if (name == "n") out.plural |= number(value) != 1.0;
        return;
      case 4:
        if (name == "seed") out.seeded = true;
        if (name == "user") out.user = decode_json_string(value, kMaxName);
        if (name == "echo") out.plural |= value == "true";
        return;
      default:
        break;
    }
    if (name == "model") {
      out.model = decode_json_string(value, kMaxName);
    } else if (name == "stream") {
      out.stream = value == "true";
    } else if (name == "messages" || name == "prompt" || name == "input") {
      out.prompt = value;
      out.plural |= name == "prompt" && several_prompts(value);
    } else if (name == "text_1" || name == "query") {  // of scoring and ranking
      if (out.prompt.empty()) out.prompt = value;
    } else if (name == "system" || name == "instructions") {
      out.instructions = value;
    } else if (name == "tools") {
      out.tools = value;
    } else if (name == "chat_template_kwargs") {
      out.template_arguments = value;
    } else if (name == "chat_template") {
      out.template_text = value;
    } else if (name == "cache_salt") {
      out.cache_salt = decode_json_string(value, kMaxName);
    } else if (name == "prompt_cache_key" || name == "safety_identifier") {
      if (out.user.empty()) out.user = decode_json_string(value, kMaxName);
    } else if (name == "previous_response_id") {
      out.previous_response = decode_json_string(value, kMaxName);
    } else if (name == "priority") {
      if (const auto priority = number(value)) {
        out.priority = static_cast<int>(std::clamp(*priority, -1e6, 1e6));
      }
    } else if (name == "max_tokens" || name == "max_completion_tokens" || name == "max_output_tokens") {
      if (const auto tokens = number(value)) {
        out.max_tokens = static_cast<uint32_t>(std::clamp(*tokens, 0.0, 1e9));
      }
    } else if (name == "temperature") {
      out.greedy = number(value) == 0.0;
    } else if (name == "prompt_logprobs" || name == "use_beam_search") {
      out.plural = true;
    } else if (name == "best_of") {
      out.plural |= number(value) != 1.0;
    } else if (name == "return_token_ids") {
      out.returns_token_ids = value == "true";
    } else if (name == "continue_tokens") {
      out.continues = true;
    }
  }

  // ["a", "b"] or [[1], [2]] with more than one element.
  static bool several_prompts(std::string_view value) {
    JsonWalk walk(value);
    std::string_view element;
    if (!walk.enter_array() || !walk.element(element)) return false;
    return (element.front() == '"' || element.front() == '[') && walk.element(element);
  }
};

}  // namespace

Result<BodyScan> scan_body(std::string_view body) {
  JsonWalk walk(body);
  if (!walk.enter_object()) return invalid_argument("", "The body is not a JSON object.");
  Scan scan;
  scan.out.members_at = walk.position();
  scan.out.is_empty = true;
  std::string_view name, value;
  while (walk.member(name, value)) {
    scan.out.is_empty = false;
    if (name.find('\\') != std::string_view::npos) {
      const std::string decoded = decode_json_string({name.data() - 1, name.size() + 2}, kMaxName);
      scan.take(decoded, value);
    } else {
      scan.take(name, value);
    }
  }
  if (walk.failed() || !walk.at_end()) {
    return invalid_argument(
        "", "The body is not valid JSON; the fault is at byte " + std::to_string(walk.position()) + ".");
  }
  return std::move(scan.out);
}

std::optional<std::vector<int32_t>> prompt_ids(std::string_view prompt, size_t limit) {
  if (prompt.size() < 3 || prompt.front() != '[') return std::nullopt;
  std::vector<int32_t> ids;
  const char* at = prompt.data() + 1;
  const char* const end = prompt.data() + prompt.size();
  const auto space = [&] {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
  };
  for (;;) {
    space();
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0) return std::nullopt;
    ids.push_back(id);
    at = next;
    space();
    if (at == end) return std::nullopt;
    if (*at == ']') return ids;
    if (*at != ',' || ids.size() == limit) return std::nullopt;
    ++at;
  }
}

std::string splice(std::string_view body, const std::vector<Splice>& splices) {
  size_t size = body.size();
  for (const Splice& each : splices) size += each.inserted.size();
  std::string out;
  out.reserve(size);
  size_t at = 0;
  for (const Splice& each : splices) {
    SLUICE_CHECK(each.at >= at && each.at + each.removed <= body.size());
    out.append(body.substr(at, each.at - at)).append(each.inserted);
    at = each.at + each.removed;
  }
  return out.append(body.substr(at));
}

}  // namespace sluice::router
