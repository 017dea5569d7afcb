#include "server/net/answer_head.h"

#include <algorithm>
#include <ctime>
#include <random>

namespace sluice {
namespace {

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  thread_local std::time_t last = 0;
  thread_local std::string text;
  if (now != last) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    char out[64];
    std::strftime(out, sizeof out, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    text = out;
    last = now;
  }
  return text;
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') out.push_back(c);
  }
  out.append("\r\n");
}

}  // namespace

// A client's own id goes back to it and into logs only when it is made of harmless characters.
std::string choose_request_id(const HeaderList& headers) {
  if (const std::string* id = headers.find("x-request-id")) {
    const bool harmless =
        !id->empty() && id->size() <= 128 && std::all_of(id->begin(), id->end(), [](char c) {
          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                 c == '_' || c == '.';
        });
    if (harmless) return *id;
  }
  thread_local std::mt19937_64 random{std::random_device{}()};
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 2; ++word) {
    uint64_t bits = random();
    for (int i = 0; i < 16; ++i, bits >>= 4) id.push_back(kHex[bits & 15]);
  }
  return id;
}

std::string choose_traceparent(const HeaderList& headers) {
  const std::string* given = headers.find("traceparent");
  if (given == nullptr || given->size() != 55 || given->starts_with("ff")) return {};
  for (size_t i = 0; i < given->size(); ++i) {
    const char c = (*given)[i];
    const bool dash = i == 2 || i == 35 || i == 52;
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return {};
  }
  const bool no_trace = given->find_first_not_of('0', 3) >= 35,
             no_parent = given->find_first_not_of('0', 36) >= 52;
  return no_trace || no_parent ? "" : *given;
}

std::string_view closed_method(std::string_view method) {
  for (std::string_view known : {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    if (method == known) return known;
  }
  return "other";
}

std::string write_answer_head(const HttpResponse& response, const AnswerHead& head) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " ";
  out.append(reason_phrase(response.status)).append("\r\n");
  append_header(out, "Date", http_date());
  if (!response.content_type.empty()) append_header(out, "Content-Type", response.content_type);
  if (head.content_bytes) append_header(out, "Content-Length", std::to_string(*head.content_bytes));
  if (head.chunked) append_header(out, "Transfer-Encoding", "chunked");
  if (!head.request_id.empty()) append_header(out, "x-request-id", head.request_id);
  if (!head.traceparent.empty()) append_header(out, "traceparent", head.traceparent);
  for (const auto& [name, value] : response.headers) append_header(out, name, value);
  if (head.more != nullptr) {
    for (const auto& [name, value] : *head.more) append_header(out, name, value);
  }
  append_header(out, "Connection", head.close ? "close" : "keep-alive");
  out += "\r\n";
  return out;
}

}  // namespace sluice
