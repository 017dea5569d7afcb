// A chat completions request as values. https://platform.openai.com/docs/api-reference/chat/create
#pragma once

#include <functional>

#include "server/wire/dialogue_fields.h"
#include "server/wire/output_format.h"

namespace sluice {

struct ChatRequest {
  GenerationFields fields;
  std::optional<GrammarSource> grammar;  // what the answer must match
  ToolFields tools;
  ReasoningFields reasoning;
  // What the template sees, as JSON text: {"messages":[…],"tools":[…],…}. Text parts are joined, arguments of
  // tool calls are objects again, "developer" is "system" unless the template knows it.
  std::string template_variables;
  std::string chat_template;  // the request's own; empty: the model's
  bool continue_final_message = false;
  std::string final_message;  // the last message's text when the assistant spoke it: what `echo` repeats
  std::vector<std::string> covered;  // what ChatDialect::cover replaced
  std::vector<std::string> ignored;  // fields nobody read
};

struct ChatDialect {
  bool template_knows_developer = false;
  bool trusts_request_template = false;  // else 'chat_template' is refused
  // Applied to every message's text; may append to ChatRequest::covered. Null: the text stays as it is.
  std::function<std::string(std::string_view text, std::vector<std::string>& covered)> cover;
};

Result<ChatRequest> parse_chat_request(std::string_view body, const WireLimits& limits,
                                       const ChatDialect& dialect);

}  // namespace sluice
