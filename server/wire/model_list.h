// The small answers: models, tokens, version. https://platform.openai.com/docs/api-reference/models; tokenize
// and detokenize as vLLM shapes them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "server/wire/generation_fields.h"

namespace sluice {

struct ModelCard {
  std::string id;
  std::string root;  // the model's path or repository
  int64_t created_s = 0;
  int max_model_len = 0;
};

std::string model_list_body(std::span<const ModelCard> cards);
std::string model_card_body(const ModelCard& card);
std::string deletion_body(std::string_view id);
std::string version_body(std::string_view version);

struct TokenizeRequest {
  std::string model;
  std::string prompt;
  std::string chat_body;  // not empty: the request has messages; parse it as a chat request instead
  bool add_special_tokens = true;
  bool return_token_strings = false;
};
Result<TokenizeRequest> parse_tokenize_request(std::string_view body, const WireLimits& limits);
std::string tokenize_body(std::span<const int32_t> ids, std::span<const std::string> token_strings,
                          int max_model_len);

// What a request would hand to the engine: its prompt, and the sampling with all defaults filled in.
struct RenderedPrompt {
  std::string text;
  std::vector<int32_t> ids;
  int max_tokens = 0;
  double temperature = 0, top_p = 0, min_p = 0;
  double repetition_penalty = 0, presence_penalty = 0, frequency_penalty = 0;
  int top_k = 0, n = 1;
};
std::string rendered_body(std::string_view request_id, std::string_view model, const RenderedPrompt& prompt);

struct DetokenizeRequest {
  std::string model;
  std::vector<int32_t> ids;
};
Result<DetokenizeRequest> parse_detokenize_request(std::string_view body, const WireLimits& limits);
std::string detokenize_body(std::string_view text);

}  // namespace sluice
