#include "server/net/http_parser.h"

#include <algorithm>
#include <array>

#include "server/net/http_syntax.h"

namespace sluice {

using http_syntax::is_field_character;
using http_syntax::lists;
using http_syntax::lower;
using http_syntax::trim;

namespace {

constexpr size_t kMaxChunkLineBytes = 256;
constexpr size_t kFirstRoomBytes = size_t{512} << 10;

bool is_host(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_:[]~%!$&'()*+;=").find(c) != std::string_view::npos;
  });
}

}  // namespace

bool is_token_character(char c) {
  static const auto kTable = [] {
    std::array<bool, 256> table{};
    for (char ok :
         std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
      table[static_cast<unsigned char>(ok)] = true;
    }
    return table;
  }();
  return kTable[static_cast<unsigned char>(c)];
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

void RequestParser::reset() {
  state_ = State::kHead;
  part_ = Part::kRequestLine;
  line_.clear();
  total_bytes_ = 0;
  header_count_ = 0;
  skipped_empty_line_ = false;
  chunked_ = false;
  body_left_ = 0;
  request_ = HttpRequest();
  fault_ = HttpFault();
}

void RequestParser::fail(int status, std::string message) {
  state_ = State::kFailed;
  fault_ = {status, std::move(message)};
}

size_t RequestParser::feed(std::string_view bytes) {
  size_t used = 0;
  const State before = state_;
  if (before == State::kBody && body_is_empty()) {
    state_ = State::kDone;
    return 0;
  }
  while (state_ == before && used < bytes.size() && state_ != State::kDone && state_ != State::kFailed) {
    const bool in_bytes = part_ == Part::kBody || part_ == Part::kChunkBytes;
    used += in_bytes ? feed_bytes(bytes.substr(used)) : feed_line(bytes.substr(used));
  }
  return used;
}

size_t RequestParser::feed_bytes(std::string_view bytes) {
  const size_t take = static_cast<size_t>(std::min<uint64_t>(bytes.size(), body_left_));
  // In bounds: the length is only a promise.
  if (request_.body.empty() && !chunked_)
    request_.body.reserve(std::min<uint64_t>(body_left_, kFirstRoomBytes));
  request_.body.append(bytes.substr(0, take));
  body_left_ -= take;
  if (body_left_ == 0) {
    if (chunked_)
      part_ = Part::kChunkEnd;
    else
      state_ = State::kDone;
  }
  return take;
}

size_t RequestParser::line_limit() const {
  switch (part_) {
    case Part::kRequestLine:
      return std::min(limits_.max_request_line_bytes, limits_.max_header_bytes - total_bytes_);
    case Part::kChunkSize:
      return kMaxChunkLineBytes;
    case Part::kChunkEnd:
      return 2;
    default:
      return limits_.max_header_bytes - total_bytes_;
  }
}

size_t RequestParser::feed_line(std::string_view bytes) {
  const size_t end = bytes.find('\n');
  const size_t take = end == std::string_view::npos ? bytes.size() : end + 1;
  if (line_.size() + take > line_limit()) {
    if (part_ == Part::kRequestLine)
      fail(414, "The request line is longer than the " + std::to_string(limits_.max_request_line_bytes) +
                    " bytes that this server accepts (--max-request-line-bytes).");
    else if (part_ == Part::kHeaders || part_ == Part::kTrailers)
      fail(431, "The headers are larger than the " + std::to_string(limits_.max_header_bytes) +
                    " bytes that this server accepts (--max-header-bytes).");
    else
      fail(400, "A chunk of the body is not framed as RFC 9112 says.");
    return take;
  }
  if (end == std::string_view::npos) {
    line_.append(bytes);
    return take;
  }
  line_.append(bytes.substr(0, take));
  const std::string whole = std::exchange(line_, {});
  if (part_ != Part::kChunkSize && part_ != Part::kChunkEnd) total_bytes_ += whole.size();
  if (whole.size() < 2 || whole[whole.size() - 2] != '\r') {
    fail(400, "A line of the request does not end with CR LF.");
    return take;
  }
  take_line(std::string_view(whole).substr(0, whole.size() - 2));
  return take;
}

void RequestParser::take_line(std::string_view line) {
  switch (part_) {
    case Part::kRequestLine:
      if (line.empty() &&
          !skipped_empty_line_) {  // RFC 9112, 2.2: one empty line before a request is ignored
        skipped_empty_line_ = true;
        return;
      }
      return take_request_line(line);
    case Part::kHeaders:
      if (line.empty()) return end_headers();
      take_header(line, true);
      return;
    case Part::kChunkSize:
      return take_chunk_size(line);
    case Part::kChunkEnd:
      if (!line.empty()) return fail(400, "A chunk of the body is longer than its size says.");
      part_ = Part::kChunkSize;
      return;
    case Part::kTrailers:
      if (line.empty()) {
        state_ = State::kDone;
        return;
      }
      take_header(line, false);  // checked, then dropped: nothing of ours reads a trailer
      return;
    default:
      return;
  }
}

void RequestParser::take_request_line(std::string_view line) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == 0 || first == last) {
    return fail(400, "The request line must be a method, a target and a version.");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view version = line.substr(last + 1);
  if (method.size() > 32 || !std::all_of(method.begin(), method.end(), is_token_character)) {
    return fail(400, "The request's method is not a token.");
  }
  const bool http = version.size() == 8 && version.substr(0, 5) == "HTTP/" && version[6] == '.' &&
                    version[5] >= '0' && version[5] <= '9' && version[7] >= '0' && version[7] <= '9';
  if (!http) return fail(400, "The request line does not end with an HTTP version.");
  if (version != "HTTP/1.1" && version != "HTTP/1.0")
    return fail(505, "This server speaks HTTP/1.1 and HTTP/1.0.");
  if (!take_target(line.substr(first + 1, last - first - 1))) return;
  request_.method = std::string(method);
  request_.minor_version = version[7] - '0';
  part_ = Part::kHeaders;
}

bool RequestParser::take_target(std::string_view target) {
  const bool printable = std::all_of(target.begin(), target.end(), [](char c) {
    return c > 0x20 && c < 0x7f && c != '#' && c != '"' && c != '<' && c != '>' && c != '\\' && c != '^' &&
           c != '`' && c != '{' && c != '|' && c != '}';
  });
  if (!printable) {
    fail(400, "The request's target contains a character that a URL may not contain.");
    return false;
  }
  if (target.substr(0, 7) == "http://" ||
      target.substr(0, 8) == "https://") {  // absolute form, RFC 9112, 3.2.2
    target.remove_prefix(target.find("//") + 2);
    const size_t slash = target.find_first_of("/?");
    if (slash == 0 || !is_host(target.substr(0, slash))) {
      fail(400, "The request's target names no host.");
      return false;
    }
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  const size_t mark = target.find('?');
  request_.path = std::string(target.substr(0, mark));
  if (mark != std::string_view::npos) request_.query = std::string(target.substr(mark + 1));
  if (request_.path.empty()) request_.path = "/";
  if (request_.path.front() != '/' && request_.path != "*") {
    fail(400, "The request's target must be a path.");
    return false;
  }
  return true;
}

bool RequestParser::take_header(std::string_view line, bool keep) {
  if (++header_count_ > limits_.max_header_count) {
    fail(431, "The request has more than the " + std::to_string(limits_.max_header_count) +
                  " headers that this server accepts (--max-header-count).");
    return false;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0 ||
      !std::all_of(line.begin(), line.begin() + static_cast<long>(colon), is_token_character)) {
    fail(400, "A header's name is not a token.");
    return false;
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!std::all_of(value.begin(), value.end(), is_field_character)) {
    fail(400, "A header's value contains a control character.");
    return false;
  }
  if (keep) request_.headers.add(lower(line.substr(0, colon)), std::string(value));
  return true;
}

void RequestParser::end_headers() {
  const HeaderList& headers = request_.headers;
  const size_t hosts = headers.count("host");
  if (hosts > 1 || (hosts == 0 && request_.minor_version == 1) ||
      (hosts == 1 && !is_host(*headers.find("host")))) {
    return fail(400, "The request must have exactly one valid Host header.");
  }
  const size_t lengths = headers.count("content-length");
  const size_t encodings = headers.count("transfer-encoding");
  if (lengths > 1) return fail(400, "The request has more than one Content-Length.");
  if (lengths + encodings > 1)
    return fail(400, "The request has two framings; send one Content-Length or one Transfer-Encoding.");
  if (encodings == 1) {
    if (request_.minor_version == 0) return fail(400, "HTTP/1.0 has no Transfer-Encoding.");
    if (lower(*headers.find("transfer-encoding")) != "chunked") {
      return fail(501, "The only Transfer-Encoding this server understands is chunked.");
    }
    chunked_ = true;
  }
  if (lengths == 1) {
    const std::string& value = *headers.find("content-length");
    const bool digits = !value.empty() && value.size() <= 18 &&
                        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return fail(400, "Content-Length is not a plain number of bytes.");
    body_left_ = std::stoull(value);
    if (body_left_ > limits_.max_body_bytes) {
      return fail(413, "The body has " + value + " bytes; this server accepts at most " +
                           std::to_string(limits_.max_body_bytes) + " (--max-body-bytes).");
    }
  }
  request_.keep_alive = request_.minor_version == 1;
  for (const auto& [name, value] : headers) {
    if (name == "connection") {
      if (lists(value, "close")) {
        request_.keep_alive = false;
        break;
      }
      if (lists(value, "keep-alive")) request_.keep_alive = true;
    }
  }
  if (const std::string* expect = headers.find("expect")) {
    if (lower(*expect) != "100-continue")
      return fail(417, "The only expectation this server knows is 100-continue.");
    request_.expects_continue = request_.minor_version == 1;
  }
  part_ = chunked_ ? Part::kChunkSize : Part::kBody;
  state_ = State::kBody;
}

void RequestParser::take_chunk_size(std::string_view line) {
  const auto [size, digits, too_large] = http_syntax::read_chunk_size(line);
  if (too_large) return fail(400, "A chunk's size is too large.");
  const std::string_view extension = trim(line.substr(digits));
  if (digits == 0 || (!extension.empty() && extension.front() != ';') ||
      !std::all_of(extension.begin(), extension.end(), is_field_character)) {
    return fail(400, "A chunk's size is not a hexadecimal number.");
  }
  if (size > limits_.max_body_bytes || request_.body.size() + size > limits_.max_body_bytes) {
    return fail(413, "The body is larger than the " + std::to_string(limits_.max_body_bytes) +
                         " bytes that this server accepts (--max-body-bytes).");
  }
  body_left_ = size;
  part_ = size == 0 ? Part::kTrailers : Part::kChunkBytes;
}

}  // namespace sluice
