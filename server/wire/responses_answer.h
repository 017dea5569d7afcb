// Answers of the Responses API: the response object, whole or told by events
// (https://platform.openai.com/docs/api-reference/responses/object and …/responses-streaming). One per
// request; its I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/wire/answer_format.h"

namespace sluice {

// What a response shows of itself at any time.
struct ResponseFace {
  std::string id;  // without "resp_"
  std::string model;
  int64_t created_s = 0;
  std::string echo;  // members that repeat the request, each behind a comma
};

struct ResponseState {
  std::string_view status;  // "queued", "in_progress", "completed", "incomplete", "cancelled", "failed"
  std::string_view output;  // the items: JSON objects joined by commas
  const Usage* usage = nullptr;
  const Timings* timings = nullptr;
  const Error* error = nullptr;
  int64_t completed_s = 0;
};

std::string response_body(const ResponseFace& face, const ResponseState& state);
std::string response_deletion_body(std::string_view id);
// {"object":"list","data":[…],"first_id","last_id","has_more"}.
std::string item_list_body(std::string_view items, std::string_view first_id, std::string_view last_id,
                           bool has_more);
std::string input_tokens_body(size_t tokens);

// Told once, when the answer is whole.
struct FinishedResponse {
  std::string body;    // the response object
  std::string output;  // its items
  bool failed = false;
};
using KeepResponse = std::function<void(FinishedResponse response)>;

std::unique_ptr<AnswerFormat> responses_answer(ResponseFace face, bool logprobs, KeepResponse keep);

}  // namespace sluice
