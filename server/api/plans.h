// From a request's body to what the engine and the text floor need: the template rendered, the prompt
// encoded, defaults filled in, lengths checked. Pure functions of body and service: any thread.
#pragma once

#include <string>

#include "server/api/generation.h"
#include "server/wire/responses_request.h"

namespace sluice {

struct PlanRequest {
  std::string body;
  std::string request_id;
};

Result<GenerationPlan> plan_chat(const ModelService& service, const PlanRequest& request);
Result<GenerationPlan> plan_messages(const ModelService& service, const PlanRequest& request);
Result<GenerationPlan> plan_completion(const ModelService& service, const PlanRequest& request);
// All but the format, which tells the response's own story.
Result<GenerationPlan> plan_response(const ModelService& service, const std::string& request_id,
                                     const ResponsesRequest& request);
// What either would hand to the engine, as JSON.
Result<std::string> render_chat_request(const ModelService& service, const PlanRequest& request);
Result<std::string> render_completion_request(const ModelService& service, const PlanRequest& request);
// A debug line for each.
void report_ignored(const std::vector<std::string>& ignored, const std::string& request_id);
// The text that the template makes of a conversation, and its tokens.
Result<std::string> render_chat(const ModelService& service, const ChatRequest& request);
Result<std::vector<int32_t>> encode_rendered(const ModelService& service, const ChatRequest& request,
                                             const std::string& text);
// Both: the prompt that `body` (a chat request's) would give.
Result<std::vector<int32_t>> encode_chat(const ModelService& service, const ChatRequest& request);

}  // namespace sluice
