// What routing wants to know of a request's JSON body, found in one pass over its bytes: the fields of the
// OpenAI and Anthropic APIs, as values or as the places where they lie. The body itself stays as it is. Pure;
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::router {

struct BodyScan {
  std::string model;            // decoded; empty: not named
  std::string_view model_text;  // as it lies, with its quotes
  bool stream = false;

  // The prompt, as the template sees it, in this order; slices of the body. What stands before the text
  // (tools, template arguments) only seeds its chain.
  std::string_view tools, template_arguments, template_text;
  std::string_view instructions;  // `system` or `instructions`
  std::string_view prompt;        // `messages`, `input`, `prompt`, or what scoring and tokenizing name
  std::string cache_salt;

  std::string user;  // or `safety_identifier`, `prompt_cache_key`: whose session it is
  std::string previous_response;
  int priority = 0;
  uint32_t max_tokens = 0;  // 0: not said

  // Whether a broken answer to it could go on elsewhere.
  bool greedy = false;
  bool seeded = false;
  bool plural = false;             // n, echo, prompt_logprobs, several prompts: more than one plain answer
  bool returns_token_ids = false;  // it asks for them itself
  std::string_view token_ids_text, seed_text;  // as they lie, nulls too
  bool continues = false;                      // has continue_tokens of its own

  size_t members_at = 0;  // behind the opening brace
  bool is_empty = false;  // {}
};

// kInvalidArgument with a sentence when the body is not one JSON object.
Result<BodyScan> scan_body(std::string_view body);

// The prompt as token ids when that is what it is: [1, 2, 3]; at most `limit` of them.
std::optional<std::vector<int32_t>> prompt_ids(std::string_view prompt, size_t limit);

// Replaces or inserts pieces of a body; places are of the body as it was.
struct Splice {
  size_t at = 0;
  size_t removed = 0;
  std::string inserted;
};
// `splices` in ascending order, not overlapping.
std::string splice(std::string_view body, const std::vector<Splice>& splices);

}  // namespace sluice::router
