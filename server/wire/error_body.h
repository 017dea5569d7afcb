// The one place where an Error becomes an HTTP status and OpenAI's error body:
// {"error":{"message","type","param","code"}} (https://platform.openai.com/docs/guides/error-codes).
#pragma once

#include <string>

#include "base/result.h"
#include "server/net/http_message.h"

namespace sluice {

int http_status_of(ErrorCode code);
// The object {"error":{…}}, also sent as the last event of a stream that had begun.
std::string error_body(const Error& error);
// With Retry-After where the error says when.
HttpResponse error_response(const Error& error);
// For faults that net found before a route saw the request.
HttpResponse fault_response(const HttpFault& fault);

}  // namespace sluice
