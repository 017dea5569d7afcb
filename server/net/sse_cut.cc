#include "server/net/sse_cut.h"

namespace sluice {
namespace {

// Behind the last empty line; 0 when there is none.
size_t end_of_events(std::string_view text) {
  for (size_t at = text.size(); at >= 2; --at) {
    if (text[at - 1] != '\n') continue;
    if (text[at - 2] == '\n' || (at >= 3 && text[at - 2] == '\r' && text[at - 3] == '\n')) return at;
  }
  return 0;
}

}  // namespace

std::string_view SseCut::take(std::string_view bytes) {
  if (kept_.empty() && bytes.ends_with("\n\n")) return bytes;
  // An empty line that the two share ends with a byte of the new ones.
  const size_t before = kept_.size();
  kept_.append(bytes);
  const size_t from = before < 2 ? 0 : before - 2;
  size_t end = end_of_events(std::string_view(kept_).substr(from));
  if (end > 0) end += from;
  if (end == 0 && kept_.size() > kMaxEventBytes) end = kept_.size();
  if (end == 0) return {};
  whole_.assign(kept_, 0, end);
  kept_.erase(0, end);
  return whole_;
}

bool next_event(std::string_view& events, SseEvent& event, std::string& joined) {
  event = {};
  bool has_lines = false, has_data = false, is_joined = false;
  while (!events.empty()) {
    const size_t end = events.find('\n');
    std::string_view line = events.substr(0, end);
    events.remove_prefix(end == std::string_view::npos ? events.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) {
      if (has_lines) break;
      continue;
    }
    has_lines = true;
    const size_t colon = line.find(':');
    const std::string_view field = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "event") event.name = value;
    if (field != "data") continue;
    if (has_data) {
      if (!is_joined) joined.assign(event.data);
      joined.append("\n").append(value);
      is_joined = true;
    } else {
      event.data = value;
    }
    has_data = true;
  }
  if (is_joined) event.data = joined;
  return has_lines;
}

}  // namespace sluice
