#include "bench/serve/answer_reader.h"

#include <charconv>
#include <cmath>

#include "base/log.h"
#include "server/wire/json_walk.h"

namespace sluice::bench {
namespace {

constexpr size_t kMaxErrorBytes = 300;
constexpr size_t kMaxTextBytes = size_t{16} << 20;  // of an answer that is kept

template <class Number>
void read_number(std::string_view text, std::optional<Number>& out) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0 && value < 4e9)) return;
  out = static_cast<Number>(value);
}

bool is_said(std::string_view value) {
  return is_json_string(value) && value.size() > 2;
}

// Calls with each member; false when it is no whole object.
template <class Visit>
bool for_members(std::string_view text, Visit visit) {
  JsonWalk walk(text);
  std::string_view name, value;
  if (!walk.enter_object()) return false;
  while (walk.member(name, value)) visit(name, value);
  return !walk.failed() && walk.at_end();
}

}  // namespace

AnswerReader::Event AnswerReader::read_event(std::string_view name, std::string_view data) {
  if (data.empty()) return name == "error" ? Event::kMalformed : Event::kNothing;
  if (data == "[DONE]") {
    told_.finished = true;
    return Event::kNothing;
  }
  return read_object(data);
}

AnswerReader::Event AnswerReader::read_body(std::string_view body) {
  const Event event = read_object(body);
  if (event != Event::kMalformed) told_.finished = true;
  return event;
}

AnswerReader::Event AnswerReader::read_object(std::string_view data) {
  bool says = false, knows = false;
  std::string_view type, delta;
  const bool whole = for_members(data, [&](std::string_view name, std::string_view value) {
    if (name == "choices") {
      knows = true;
      says |= read_choices(value);
    } else if (name == "usage") {
      read_usage(value);
    } else if (name == "timings") {
      read_timings(value);
    } else if (name == "error" && value != "null") {
      knows = true;
      read_error(value);
    } else if (name == "type") {
      type = value;
    } else if (name == "delta") {
      delta = value;
    } else if (name == "response") {
      read_response(value);
    } else if (name == "data" && endpoint_ == Endpoint::kEmbeddings) {
      knows = true;
    } else if (name == "output" && endpoint_ == Endpoint::kResponses) {
      knows = says = true;  // a whole response, not streamed
    }
  });
  if (!whole) return Event::kMalformed;
  if (endpoint_ == Endpoint::kResponses && is_json_string(type)) {
    knows = true;
    type = type.substr(1, type.size() - 2);
    if (type.ends_with(".delta") && is_said(delta)) says |= take_text(delta);
    if (type == "response.completed" || type == "response.incomplete") told_.finished = true;
    if (type == "response.failed" && told_.error.empty()) told_.error = "the response failed";
    if (type == "error" && told_.error.empty()) told_.error = log::safe(data.substr(0, kMaxErrorBytes));
  }
  if (!knows) return Event::kMalformed;
  return says ? Event::kText : Event::kNothing;
}

bool AnswerReader::take_text(std::string_view value) {
  if (keeps_text_ && told_.text.size() < kMaxTextBytes)
    told_.text += decode_json_string(value, kMaxTextBytes);
  return true;
}

bool AnswerReader::read_choices(std::string_view choices) {
  bool says = false;
  JsonWalk walk(choices);
  std::string_view choice;
  if (!walk.enter_array()) return false;
  while (walk.element(choice)) {
    for_members(choice, [&](std::string_view name, std::string_view value) {
      if (name == "delta" || name == "message")
        says |= read_delta(value);
      else if (name == "text" && is_said(value))
        says |= take_text(value);
      else if (name == "finish_reason" && is_json_string(value))
        told_.finished = true;
    });
  }
  return says;
}

// Thoughts and tool calls are generated too.
bool AnswerReader::read_delta(std::string_view delta) {
  bool says = false;
  for_members(delta, [&](std::string_view name, std::string_view value) {
    if (name == "content" && is_said(value))
      says |= take_text(value);
    else if ((name == "reasoning" || name == "reasoning_content" || name == "refusal") && is_said(value))
      says = true;
    else if (name == "tool_calls" && value.size() > 2 && value != "null")
      says = true;
  });
  return says;
}

void AnswerReader::read_usage(std::string_view usage) {
  for_members(usage, [&](std::string_view name, std::string_view value) {
    if (name == "prompt_tokens" || name == "input_tokens") read_number(value, told_.input_tokens);
    if (name == "completion_tokens" || name == "output_tokens") read_number(value, told_.output_tokens);
    if (name != "prompt_tokens_details" && name != "input_tokens_details") return;
    for_members(value, [&](std::string_view detail, std::string_view count) {
      if (detail == "cached_tokens") read_number(count, told_.cached_tokens);
    });
  });
}

void AnswerReader::read_timings(std::string_view timings) {
  for_members(timings, [&](std::string_view name, std::string_view value) {
    if (name == "queue_ms") read_number(value, told_.queue_ms);
    if (name == "prefill_ms") read_number(value, told_.prefill_ms);
  });
}

void AnswerReader::read_error(std::string_view error) {
  told_.error = "the server told of an error";
  for_members(error, [&](std::string_view name, std::string_view value) {
    if (name == "message" && is_json_string(value))
      told_.error = log::safe(decode_json_string(value, kMaxErrorBytes));
  });
}

void AnswerReader::read_response(std::string_view response) {
  for_members(response, [&](std::string_view name, std::string_view value) {
    if (name == "usage") read_usage(value);
    if (name == "timings") read_timings(value);
    if (name == "error" && value != "null") read_error(value);
  });
}

}  // namespace sluice::bench
