// A stream of server-sent events, as its bytes come, cut between events. Pure; one thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// Lets whole events pass and keeps what is behind the last one, so that a stream which breaks off can be
// ended between two events.
class SseCut {
 public:
  static constexpr size_t kMaxEventBytes = size_t{1} << 20;  // what is longer passes as it comes

  // The whole events among what was kept and `bytes`; valid until the next call.
  std::string_view take(std::string_view bytes);
  // What is left at the stream's end: an event without its empty line, usually nothing.
  std::string_view rest() const { return kept_; }
  void clear() { kept_.clear(); }

 private:
  std::string kept_;
  std::string whole_;
};

// An event's fields (WHATWG HTML, 9.2): of several `data` lines the text of all, joined by line feeds. Both
// may be empty.
struct SseEvent {
  std::string_view name, data;
};
// Takes the next event off the front of whole ones; false when none is left. What it tells lies in `events`,
// or in `joined` where data had several lines.
bool next_event(std::string_view& events, SseEvent& event, std::string& joined);

}  // namespace sluice
