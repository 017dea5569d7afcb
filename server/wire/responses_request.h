// A request of the Responses API, read as the chat it means.
// https://platform.openai.com/docs/api-reference/responses/create; the sampling fields beyond it are vLLM's.
// Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/wire/chat_request.h"
#include "server/wire/response_items.h"

namespace sluice {

// What was said in one response, and what before it.
struct ResponseTurn {
  std::string items;  // JSON objects joined by commas: input, then output
  std::shared_ptr<const ResponseTurn> before;
};

// The responses the server still knows.
class ResponseMemory {
 public:
  virtual ~ResponseMemory() = default;
  // kNotFound with a sentence.
  virtual Result<std::shared_ptr<const ResponseTurn>> turn(const std::string& response_id) const = 0;
  virtual std::optional<std::string> item(const std::string& item_id) const = 0;
};

struct ResponsesRequest {
  std::string model;
  std::vector<std::string> messages;           // of a chat, JSON objects; first the instructions, if any
  bool has_instructions = false;               // of this request: never dropped by truncation
  std::string members;                         // the chat's other members, each behind a comma
  std::string input_items;                     // JSON objects joined by commas
  std::shared_ptr<const ResponseTurn> before;  // of previous_response_id
  std::string echo;                            // members of the answer that repeat the request, likewise
  bool store = true, stream = false, background = false;
  bool truncate = false;  // "truncation": "auto": drop the oldest messages until the rest fits
  std::vector<std::string> ignored;
};

// `id`: the response's, without its prefix.
Result<ResponsesRequest> parse_responses_request(std::string_view body, const WireLimits& limits,
                                                 const ResponseMemory& memory, const std::string& id);

// The body of the chat request, without the first `skip` messages behind the instructions.
std::string chat_body_of(const ResponsesRequest& request, size_t skip = 0);
// A fault of that chat, in the words of the request behind it.
Error in_responses_words(Error error);

}  // namespace sluice
