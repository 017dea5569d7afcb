// Anthropic's Messages API (https://docs.anthropic.com/en/api/messages) in the terms of a chat request: its
// fields are read and checked under their own names, then written as a chat completions body. So there is one
// reader of conversations, tools and reasoning, and one set of rules. Any thread.
#pragma once

#include <string>

#include "server/wire/chat_request.h"

namespace sluice {

// The chat request that `body` means. `counting`: of count_tokens, which has no max_tokens.
Result<ChatRequest> parse_messages_request(std::string_view body, const WireLimits& limits,
                                           const ChatDialect& dialect, bool counting);

// {"input_tokens":N}
std::string token_count_body(size_t tokens);

}  // namespace sluice
