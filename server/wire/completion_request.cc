#include "server/wire/completion_request.h"

#include <fmt/format.h>

namespace sluice {
namespace {

constexpr int kDefaultMaxTokens = 16;

}  // namespace

void read_prompts(RequestFields& fields, std::string_view name, const WireLimits& limits,
                  std::vector<CompletionPrompt>& prompts) {
  using Kind = JsonText::Kind;
  const auto prompt = fields.any(name);
  if (!prompt) return fields.fail(name, fmt::format("'{}' is missing.", name));
  if (prompt->kind() == Kind::kString) {
    prompts.emplace_back(prompt->string());
    return;
  }
  const std::string shapes = fmt::format(
      "'{}' must be a string, an array of strings, an array of token ids, or an array of those.", name);
  if (prompt->kind() != Kind::kArray) return fields.fail(name, shapes);
  if (prompt->element_count(1) == 0) return fields.fail(name, fmt::format("'{}' is empty.", name));
  Kind first = Kind::kNull;  // of all elements
  prompt->for_each([&](JsonText element) {
    first = element.kind();
    return false;
  });
  if (first == Kind::kNumber) {
    std::vector<int32_t> ids;
    if (read_token_ids(fields, name, *prompt, limits, ids)) prompts.emplace_back(std::move(ids));
    return;
  }
  prompt->for_each([&](JsonText element) {
    if (prompts.size() == static_cast<size_t>(limits.max_prompts)) {
      fields.fail(name,
                  fmt::format("'{}' has more than {} prompts (--max-prompts).", name, limits.max_prompts));
    } else if (element.kind() != first) {
      fields.fail(name, shapes);
    } else if (element.kind() == Kind::kString) {
      prompts.emplace_back(element.string());
    } else if (element.kind() == Kind::kArray) {
      std::vector<int32_t> ids;
      if (read_token_ids(fields, name, element, limits, ids)) prompts.emplace_back(std::move(ids));
    } else {
      fields.fail(name, shapes);
    }
    return fields.ok();
  });
}

Status check_prompts(std::string_view name, const std::vector<CompletionPrompt>& prompts,
                     bool add_special_tokens, const WireLimits& limits) {
  for (const CompletionPrompt& prompt : prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    if (text != nullptr && text->size() > limits.max_prompt_bytes)
      return prompt_too_large(name, text->size(), limits);
    const bool empty = text != nullptr ? text->empty() && !add_special_tokens
                                       : std::get<std::vector<int32_t>>(prompt).empty();
    if (empty) return invalid_argument(std::string(name), fmt::format("An entry of '{}' is empty.", name));
  }
  return {};
}

Result<CompletionRequest> parse_completion_request(std::string_view body, const WireLimits& limits) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  CompletionRequest request;
  request.fields = read_generation_fields(fields, limits);
  read_continuation(fields, limits, request.fields);
  if (!request.fields.max_tokens) request.fields.max_tokens = kDefaultMaxTokens;
  // A prompt may be told back, and scored, without an answer.
  if (*request.fields.max_tokens < (request.fields.echo ? 0 : 1))
    fields.fail("max_tokens", "'max_tokens' must be at least 1, or 0 with 'echo'.");
  if (const auto logprobs = fields.integer("logprobs", 0, {limits.max_logprobs, "--max-logprobs"})) {
    request.fields.logprobs = static_cast<int>(*logprobs);
  }
  if (request.fields.min_tokens > *request.fields.max_tokens) {
    fields.fail("min_tokens", "'min_tokens' must not be above 'max_tokens'.");
  }
  if (!fields.string("suffix", static_cast<size_t>(-1)).value_or("").empty()) {
    fields.fail("suffix", "'suffix' is not served; leave it out.");
  }
  if (const auto best_of = fields.integer("best_of", 1, {limits.max_n, "--max-n"});
      best_of && *best_of != request.fields.n) {
    fields.fail("best_of", "'best_of' must equal 'n'; other values are not served.");
  }
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  refuse_unserved_fields(fields);
  request.grammar = read_output_format(fields, limits);
  read_prompts(fields, "prompt", limits, request.prompts);
  SLUICE_TRY(fields.status());
  if (request.prompts.size() > 1 && !request.fields.continue_tokens.empty()) {
    return invalid_argument("continue_tokens",
                            "'continue_tokens' goes on with one answer: not together with several prompts.");
  }
  const auto choices = static_cast<int64_t>(request.prompts.size()) * request.fields.n;
  if (choices > limits.max_choices) {
    return invalid_argument(
        "n", fmt::format("{} prompts times n = {} are more than the {} choices one request may ask for "
                         "(--max-choices).",
                         request.prompts.size(), request.fields.n, limits.max_choices));
  }
  SLUICE_TRY(check_prompts("prompt", request.prompts, request.add_special_tokens, limits));
  accept_idle_fields(fields);
  request.ignored = fields.unread();
  return request;
}

}  // namespace sluice
