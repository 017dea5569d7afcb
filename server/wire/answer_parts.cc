#include "server/wire/answer_parts.h"

#include <cmath>

#include "server/net/sse.h"
#include "server/wire/error_body.h"
#include "server/wire/json_out.h"

namespace sluice {

void AnswerFormat::append_error(std::string& out, const Error& error) {
  out.append(kSseBegin).append(error_body(error)).append(kSseEnd);  // and no [DONE]
}

void append_end(std::string& out, const ChoiceEnd* end) {
  if (end == nullptr) {
    out += R"("finish_reason":null)";
    return;
  }
  out += R"("finish_reason":")";
  out += end->finish_reason;
  out += R"(","stop_reason":)";
  if (end->stop_token)
    append_json(out, int64_t{*end->stop_token});
  else if (end->stop_string)
    append_json_string(out, *end->stop_string);
  else
    out += "null";
}

void append_usage_object(std::string& out, const Usage& usage) {
  out += R"({"prompt_tokens":)";
  append_json(out, int64_t{usage.prompt_tokens});
  out += R"(,"completion_tokens":)";
  append_json(out, int64_t{usage.completion_tokens});
  out += R"(,"total_tokens":)";
  append_json(out, int64_t{usage.prompt_tokens} + usage.completion_tokens);
  out += R"(,"prompt_tokens_details":{"cached_tokens":)";
  append_json(out, int64_t{usage.cached_tokens});
  out += '}';
  if (usage.reasoning_tokens >= 0) {
    out += R"(,"completion_tokens_details":{"reasoning_tokens":)";
    append_json(out, int64_t{usage.reasoning_tokens});
    out += '}';
  }
  out += '}';
}

void append_timings_object(std::string& out, const Timings& timings) {
  out += R"({"queue_ms":)";
  append_json(out, timings.queue_ms);
  out += R"(,"prefill_ms":)";
  append_json(out, timings.prefill_ms);
  out += R"(,"decode_ms":)";
  append_json(out, timings.decode_ms);
  out += '}';
}

void append_ids(std::string& out, std::string_view name, std::span<const int32_t> ids) {
  out.append(",\"").append(name).append("\":[");
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    append_json(out, int64_t{ids[i]});
  }
  out += ']';
}

void append_totals(std::string& out, const Usage* usage, bool usage_null, const Timings* timings) {
  if (usage != nullptr) {
    out += R"(,"usage":)";
    append_usage_object(out, *usage);
  } else if (usage_null) {
    out += R"(,"usage":null)";
  }
  if (timings != nullptr) {
    out += R"(,"timings":)";
    append_timings_object(out, *timings);
  }
}

void append_prompt_logprobs(std::string& out, std::span<const std::vector<PromptCandidate>> prompt) {
  out += R"(,"prompt_logprobs":[null)";
  for (const auto& place : prompt) {
    const char* comma = ",{";
    for (size_t i = 0; i < place.size(); ++i) {
      // Its own token comes first and, being likely, may come again.
      if (i > 0 && place[i].id == place[0].id) continue;
      out.append(comma).append("\"");
      comma = ",";
      append_json(out, int64_t{place[i].id});
      out += R"(":{"logprob":)";
      append_log_probability(out, place[i].token.logprob);
      out += R"(,"rank":)";
      append_json(out, int64_t{place[i].rank});
      out += R"(,"decoded_token":)";
      append_json_string(out, place[i].token.bytes);
      out += '}';
    }
    out += '}';
  }
  out += ']';
}

void append_log_probability(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "null";
    return;
  }
  if (value < -9999.0) value = -9999.0;
  append_json(out, value, "-9999");
}

std::string answer_prefix(const AnswerOptions& options, std::string_view id_prefix, std::string_view object) {
  std::string out = R"({"id":)";
  append_json_string(out, std::string(id_prefix) + options.request_id);
  out += R"(,"object":")";
  out += object;
  out += R"(","created":)";
  append_json(out, options.created_s);
  out += R"(,"model":)";
  append_json_string(out, options.model);
  out += R"(,"system_fingerprint":)";
  append_json_string(out, options.fingerprint);
  out += R"(,"choices":[)";
  return out;
}

}  // namespace sluice
