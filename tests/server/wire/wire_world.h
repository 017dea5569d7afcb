// Limits as of a small model, for tests of requests.
#pragma once

#include "server/wire/chat_request.h"
#include "server/wire/completion_request.h"

namespace sluice::testing {

inline WireLimits small_limits() {
  WireLimits limits;
  limits.vocabulary = 1000;
  limits.max_model_len = 256;
  limits.max_prompt_bytes = 65536;
  return limits;
}

inline Result<ChatRequest> chat(const std::string& body) {
  return parse_chat_request(body, small_limits(), {});
}
inline Result<CompletionRequest> completion(const std::string& body) {
  return parse_completion_request(body, small_limits());
}

}  // namespace sluice::testing
