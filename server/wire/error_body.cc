#include "server/wire/error_body.h"

#include <algorithm>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

struct Face {
  int status;
  const char* type;
  const char* code;  // null: JSON null
};

Face face_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return {400, "invalid_request_error", nullptr};
    case ErrorCode::kUnauthorized:
      return {401, "authentication_error", "invalid_api_key"};
    case ErrorCode::kNotFound:
      return {404, "invalid_request_error", "model_not_found"};
    case ErrorCode::kContextLength:
      return {400, "invalid_request_error", "context_length_exceeded"};
    case ErrorCode::kTooLarge:
      return {413, "invalid_request_error", "request_too_large"};
    case ErrorCode::kOverloaded:
      return {429, "rate_limit_error", "server_overloaded"};
    case ErrorCode::kUnavailable:
      return {503, "server_error", "service_unavailable"};
    case ErrorCode::kDeadline:
      return {504, "server_error", "deadline_exceeded"};
    case ErrorCode::kCancelled:
      return {503, "server_error", "request_cancelled"};
    case ErrorCode::kUnsupported:
      return {501, "server_error", "not_supported"};
    case ErrorCode::kOutOfMemory:
      return {503, "server_error", "out_of_memory"};
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return {500, "server_error", "internal_error"};
  }
  return {500, "server_error", "internal_error"};
}

std::string body_of(const std::string& message, const char* type, const std::string& param,
                    const char* code) {
  std::string out = R"({"error":{"message":)";
  append_json_string(out, message);
  out += R"(,"type":)";
  append_json_string(out, type);
  out += R"(,"param":)";
  if (param.empty())
    out += "null";
  else
    append_json_string(out, param);
  out += R"(,"code":)";
  if (code == nullptr)
    out += "null";
  else
    append_json_string(out, code);
  out += "}}";
  return out;
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 400:
    case 405:
    case 408:
      return "invalid_request_error";
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return "api_error";
  }
}

std::string anthropic_body(int status, const std::string& message, std::string_view request_id) {
  std::string out = R"({"type":"error","error":{"type":")";
  out += anthropic_type(status);
  out += R"(","message":)";
  append_json_string(out, message);
  out += R"(},"request_id":)";
  if (request_id.empty())
    out += "null";
  else
    append_json_string(out, request_id);
  out += '}';
  return out;
}

}  // namespace

int http_status_of(ErrorCode code) {
  return face_of(code).status;
}

ErrorStyle error_style_of(std::string_view path) {
  return path == "/v1/messages" || path.starts_with("/v1/messages/") ? ErrorStyle::kAnthropic
                                                                     : ErrorStyle::kOpenAi;
}

std::string error_body(const Error& error, ErrorStyle style, std::string_view request_id) {
  const Face face = face_of(error.code);
  if (style == ErrorStyle::kAnthropic) return anthropic_body(face.status, error.message, request_id);
  return body_of(error.message, face.type, error.param, face.code);
}

HttpResponse error_response(const Error& error, ErrorStyle style, std::string_view request_id) {
  HttpResponse response;
  response.status = http_status_of(error.code);
  response.body = error_body(error, style, request_id);
  if (response.status == 429 || response.status == 503) {
    response.headers.add("Retry-After", std::to_string(std::max(1, error.retry_after_s)));
  }
  if (response.status == 401) response.headers.add("WWW-Authenticate", "Bearer");
  return response;
}

HttpResponse fault_response(const HttpFault& fault, std::string_view path) {
  const char* code = nullptr;
  const char* type = fault.status >= 500 ? "server_error" : "invalid_request_error";
  switch (fault.status) {
    case 404:
      code = "not_found";
      break;
    case 405:
      code = "method_not_allowed";
      break;
    case 408:
      code = "request_timeout";
      break;
    case 413:
      code = "request_too_large";
      break;
    case 414:
      code = "uri_too_long";
      break;
    case 431:
      code = "headers_too_large";
      break;
    case 503:
      code = "service_unavailable";
      break;
    default:
      break;
  }
  HttpResponse response;
  response.status = fault.status;
  response.body = error_style_of(path) == ErrorStyle::kAnthropic
                      ? anthropic_body(fault.status, fault.message, "")
                      : body_of(fault.message, type, "", code);
  if (fault.status == 503) response.headers.add("Retry-After", "1");
  return response;
}

}  // namespace sluice
