// The pieces that both answer formats are made of. Internal to server/wire.
#pragma once

#include "server/wire/answer_format.h"

namespace sluice {

void append_end(std::string& out, const ChoiceEnd* end);         // "finish_reason":…[,"stop_reason":…]
void append_usage_object(std::string& out, const Usage& usage);  // {…}
void append_timings_object(std::string& out, const Timings& timings);  // {…}
// ,"name":[…]
void append_ids(std::string& out, std::string_view name, std::span<const int32_t> ids);
// Usage and timings as the last members of a chunk or a body.
void append_totals(std::string& out, const Usage* usage, bool usage_null, const Timings* timings);
// ,"prompt_logprobs":[null,{"id":{"logprob","rank","decoded_token"},…},…], as vLLM has it.
void append_prompt_logprobs(std::string& out, std::span<const std::vector<PromptCandidate>> prompt);
void append_log_probability(std::string& out,
                            double value);  // NaN: null; what was impossible reads -9999, as in vLLM
// {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…,"choices":[
std::string answer_prefix(const AnswerOptions& options, std::string_view id_prefix, std::string_view object);

}  // namespace sluice
