// A (legacy) completions request as values. https://platform.openai.com/docs/api-reference/completions/create
#pragma once

#include <variant>

#include "server/wire/output_format.h"

namespace sluice {

using CompletionPrompt = std::variant<std::string, std::vector<int32_t>>;  // text, or token ids

struct CompletionRequest {
  GenerationFields fields;
  std::optional<GrammarSource> grammar;   // what the answer must match
  std::vector<CompletionPrompt> prompts;  // at least one; several prompts give several choices
  bool add_special_tokens = true;         // as the tokenizer's post-processor says
  std::vector<std::string> ignored;       // fields nobody read
};

// The member `name`: a string, an array of strings, of token ids, or of arrays of those.
void read_prompts(RequestFields& fields, std::string_view name, const WireLimits& limits,
                  std::vector<CompletionPrompt>& prompts);
// None is empty or too large to fit the context.
Status check_prompts(std::string_view name, const std::vector<CompletionPrompt>& prompts,
                     bool add_special_tokens, const WireLimits& limits);

Result<CompletionRequest> parse_completion_request(std::string_view body, const WireLimits& limits);

}  // namespace sluice
