// Frames for text/event-stream (WHATWG HTML, 9.2). Text that goes into a frame is one line of JSON, so it
// needs no escaping: JSON has no raw newline.
#pragma once

#include <string>
#include <string_view>

#include "server/net/http_message.h"

namespace sluice {

inline constexpr std::string_view kSseBegin = "data: ";
inline constexpr std::string_view kSseEnd = "\n\n";
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

// The head of a stream; proxies are asked not to buffer it.
inline HttpResponse sse_head() {
  HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.add("Cache-Control", "no-cache");
  head.headers.add("X-Accel-Buffering", "no");
  return head;
}

}  // namespace sluice
