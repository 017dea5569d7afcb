// The one place where an Error becomes an HTTP status and OpenAI's error body:
// {"error":{"message","type","param","code"}} (https://platform.openai.com/docs/guides/error-codes).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/net/http_message.h"

namespace sluice {

// Whose error body: {"error":{…}}, or Anthropic's {"type":"error","error":{"type","message"},"request_id"}
// (https://docs.anthropic.com/en/api/errors).
enum class ErrorStyle : uint8_t { kOpenAi, kAnthropic };

// By the path of the request.
ErrorStyle error_style_of(std::string_view path);

int http_status_of(ErrorCode code);
// The object, also sent as the last event of a stream that had begun. OpenAI's carries no request_id.
std::string error_body(const Error& error, ErrorStyle style = ErrorStyle::kOpenAi,
                       std::string_view request_id = {});
// With Retry-After where the error says when.
HttpResponse error_response(const Error& error, ErrorStyle style = ErrorStyle::kOpenAi,
                            std::string_view request_id = {});
// For faults that net found before a route saw the request.
HttpResponse fault_response(const HttpFault& fault, std::string_view path);

}  // namespace sluice
