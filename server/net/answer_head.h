// The head of an answer as bytes, and what of a request may stand in it. Any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "server/net/http_message.h"

namespace sluice {

struct AnswerHead {
  std::string_view request_id;          // empty: none
  std::string_view traceparent;         // empty: none
  const HeaderList* more = nullptr;     // or null
  std::optional<size_t> content_bytes;  // none: chunked, or ended by closing
  bool chunked = false;
  bool close = false;
};

// Line breaks and NULs in values are dropped: no value can add a header.
std::string write_answer_head(const HttpResponse& response, const AnswerHead& head);

// The client's x-request-id when it is made of harmless characters, else one of our own.
std::string choose_request_id(const HeaderList& headers);

// The client's traceparent (https://www.w3.org/TR/trace-context/) when it is well-formed, else empty.
std::string choose_traceparent(const HeaderList& headers);

// The method when it is a usual one, else "other": a closed set for metrics.
std::string_view closed_method(std::string_view method);

}  // namespace sluice
