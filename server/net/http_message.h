// What an HTTP exchange is made of, as values: no socket, no model word. Any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

// In the order they came; names of a request are in lower case.
class HeaderList {
 public:
  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  // The first field of that (lower-case) name, or null.
  const std::string* find(std::string_view name) const {
    for (const auto& [field, value] : fields_) {
      if (field == name) return &value;
    }
    return nullptr;
  }
  size_t count(std::string_view name) const {
    size_t n = 0;
    for (const auto& field : fields_) n += field.first == name ? 1 : 0;
    return n;
  }
  size_t size() const { return fields_.size(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct HttpRequest {
  std::string method;
  std::string path;   // as sent, not percent-decoded, begins with '/'
  std::string query;  // behind '?', without it
  HeaderList headers;
  std::string body;
  int minor_version = 1;   // HTTP/1.x
  bool keep_alive = true;  // what the client wants
  bool expects_continue = false;
  std::string request_id;  // the client's x-request-id if it is harmless, else our own
  bool owed = true;        // its connection is older than the drain, if there is one
  std::string peer_name;   // common name of the client's certificate, where one was checked; else empty
  std::string path_rest;   // what a route's {rest} matched, percent-decoded
  std::chrono::steady_clock::time_point arrival;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HeaderList headers;  // beside Content-Type, Content-Length, Date, Connection and x-request-id
  std::string body;
};

// What is wrong with the bytes of a request, before any route saw it.
struct HttpFault {
  int status = 400;
  std::string message;
};

// Of one request; each is a flag of its name (server/options_door).
struct HttpLimits {
  size_t max_request_line_bytes = 8192;      // beyond it 414
  size_t max_header_bytes = 32768;           // request line, headers and trailers together; beyond it 431
  size_t max_header_count = 100;             // 431
  size_t max_body_bytes = size_t{32} << 20;  // 413
};

// "Not Found" for 404; "Unknown" for what we never send.
std::string_view reason_phrase(int status);

// Bytes 0x21..0x7e that RFC 9110 lets a header name or method consist of.
bool is_token_character(char c);

}  // namespace sluice
