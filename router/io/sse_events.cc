#include "router/io/sse_events.h"

#include <algorithm>
#include <charconv>

namespace sluice::router {
namespace {

constexpr std::string_view kTokenIds = ",\"token_ids\":[";
constexpr std::string_view kPromptIds = ",\"prompt_token_ids\":[";

size_t end_of_first_event(std::string_view text) {
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at + 1 < text.size() && text[at + 1] == '\n') return at + 2;
    if (at + 2 < text.size() && text[at + 1] == '\r' && text[at + 2] == '\n') return at + 3;
  }
  return text.size();
}

}  // namespace

bool ToldTokens::pass(std::string_view events, std::string& out) {
  while (!events.empty()) {
    const std::string_view event = events.substr(0, end_of_first_event(events));
    if (event.starts_with("data: {\"error\":")) {
      error_event_ = event;
      return false;
    }
    pass_event(event, out);
    events.remove_prefix(event.size());
  }
  return true;
}

// Within a JSON string a quote has a backslash before it, so these keys are found only where they are keys.
void ToldTokens::pass_event(std::string_view event, std::string& out) {
  size_t at = 0;
  const auto drop = [&](size_t begin, size_t end) {
    if (strip_) {
      out.append(event.substr(at, begin - at));
      at = end;
    }
  };
  if (const size_t begin = event.find(kTokenIds); begin != std::string_view::npos) {
    const size_t close = std::min(event.find(']', begin), event.size() - 1);
    const char* next = event.data() + begin + kTokenIds.size();
    const char* const end = event.data() + close;
    while (next < end) {
      int32_t id = 0;
      const auto [after, error] = std::from_chars(next, end, id);
      if (error != std::errc()) break;
      ids_.push_back(id);
      next = after + 1;
    }
    drop(begin, close + 1);
  }
  if (const size_t begin = event.find(kPromptIds, at); begin != std::string_view::npos) {
    drop(begin, std::min(event.find(']', begin), event.size() - 1) + 1);
  }
  out.append(event.substr(at));
}

bool is_last_event(std::string_view events) {
  if (events.ends_with("data: [DONE]\n\n")) return true;
  // The others' last events are named; they may be long, and none comes behind them.
  for (const std::string_view name : {"event: message_stop\n", "event: response.completed\n",
                                      "event: response.incomplete\n", "event: response.failed\n"}) {
    const size_t at = events.rfind(name);
    if (at != std::string_view::npos && (at == 0 || events[at - 1] == '\n')) return true;
  }
  return false;
}

size_t count_events(std::string_view events) {
  size_t count = 0;
  for (size_t at = events.find("data:"); at != std::string_view::npos; at = events.find("\ndata:", at + 5)) {
    ++count;
  }
  return count;
}

}  // namespace sluice::router
