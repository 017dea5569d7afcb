#include "server/net/response_parser.h"

#include <algorithm>

#include "server/net/http_syntax.h"

namespace sluice {

using http_syntax::lists;
using http_syntax::lower;
using http_syntax::trim;

namespace {

constexpr size_t kMaxChunkLineBytes = 1024;
constexpr int kMaxInterim = 16;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

void ResponseParser::reset(bool no_body) {
  state_ = State::kHead;
  part_ = Part::kStatusLine;
  line_.clear();
  head_bytes_ = header_count_ = 0;
  started_ = false;
  no_body_ = no_body;
  keep_alive_ = true;
  status_ = interim_count_ = 0;
  body_left_ = 0;
  content_length_.reset();
  headers_ = HeaderList();
  fault_.clear();
}

void ResponseParser::fail(std::string message) {
  state_ = State::kFailed;
  fault_ = std::move(message);
}

size_t ResponseParser::feed(std::string_view bytes, std::string_view& piece) {
  piece = {};
  if (!bytes.empty()) started_ = true;
  const State before = state_;
  size_t used = 0;
  while (state_ == before && used < bytes.size() && state_ != State::kDone && state_ != State::kFailed) {
    if (part_ == Part::kUntilClosed) {
      piece = bytes.substr(used);
      return bytes.size();
    }
    if (part_ != Part::kBody && part_ != Part::kChunkBytes) {
      used += feed_line(bytes.substr(used));
      continue;
    }
    piece = bytes.substr(used, static_cast<size_t>(std::min<uint64_t>(bytes.size() - used, body_left_)));
    body_left_ -= piece.size();
    if (body_left_ == 0) {
      if (part_ == Part::kBody)
        state_ = State::kDone;
      else
        part_ = Part::kChunkEnd;
    }
    return used + piece.size();
  }
  return used;
}

void ResponseParser::end_of_stream() {
  if (state_ == State::kDone || state_ == State::kFailed) return;
  if (part_ == Part::kUntilClosed) {
    state_ = State::kDone;
  } else {
    fail(started_ ? "the connection ended within the answer" : "the connection ended before the answer");
  }
}

size_t ResponseParser::feed_line(std::string_view bytes) {
  const size_t end = bytes.find('\n');
  const size_t take = end == std::string_view::npos ? bytes.size() : end + 1;
  const bool chunk_line = part_ == Part::kChunkSize || part_ == Part::kChunkEnd;
  if (line_.size() + take > (chunk_line ? kMaxChunkLineBytes : limits_.max_head_bytes - head_bytes_)) {
    fail("its headers are too large");
    return take;
  }
  if (end == std::string_view::npos) {
    line_.append(bytes);
    return take;
  }
  if (!chunk_line) head_bytes_ += line_.size() + take;
  std::string_view whole = bytes.substr(0, take);
  std::string joined;
  if (!line_.empty()) {
    joined = std::exchange(line_, {});
    joined.append(whole);
    whole = joined;
  }
  if (whole.size() < 2 || whole[whole.size() - 2] != '\r') {
    fail("a line of its head does not end with CR LF");
    return take;
  }
  take_line(whole.substr(0, whole.size() - 2));
  return take;
}

void ResponseParser::take_line(std::string_view line) {
  switch (part_) {
    case Part::kStatusLine:
      return take_status_line(line);
    case Part::kHeaders:
      if (line.empty()) return end_headers();
      return take_header(line, true);
    case Part::kChunkSize:
      return take_chunk_size(line);
    case Part::kChunkEnd:
      if (!line.empty()) return fail("a chunk is longer than its size says");
      part_ = Part::kChunkSize;
      return;
    case Part::kTrailers:
      if (line.empty()) {
        state_ = State::kDone;
        return;
      }
      return take_header(line, false);
    default:
      return;
  }
}

void ResponseParser::take_status_line(std::string_view line) {
  const bool good = line.size() >= 12 && line.starts_with("HTTP/1.") && is_digit(line[7]) && line[8] == ' ' &&
                    is_digit(line[9]) && is_digit(line[10]) && is_digit(line[11]) &&
                    (line.size() == 12 || line[12] == ' ');
  if (!good) return fail("it does not begin with an HTTP/1.1 status line");
  minor_version_ = line[7] - '0';
  status_ = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  if (status_ < 100 || status_ > 599) return fail("its status is none of HTTP's");
  part_ = Part::kHeaders;
}

void ResponseParser::take_header(std::string_view line, bool keep) {
  if (++header_count_ > limits_.max_header_count) return fail("it has too many headers");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0 ||
      !std::all_of(line.begin(), line.begin() + static_cast<long>(colon), is_token_character)) {
    return fail("a header's name is not a token");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!std::all_of(value.begin(), value.end(), http_syntax::is_field_character)) {
    return fail("a header's value contains a control character");
  }
  if (keep) headers_.add(lower(line.substr(0, colon)), std::string(value));
}

void ResponseParser::end_headers() {
  if (status_ < 200) {  // 100 Continue and its like: the answer comes behind it
    if (status_ == 101 || ++interim_count_ > kMaxInterim) return fail("it switches protocols");
    headers_ = HeaderList();
    header_count_ = 0;
    part_ = Part::kStatusLine;
    return;
  }
  const size_t lengths = headers_.count("content-length");
  const size_t encodings = headers_.count("transfer-encoding");
  if (lengths > 1 || encodings > 1 || lengths + encodings > 1) return fail("it has two framings");
  keep_alive_ = minor_version_ >= 1;
  for (const auto& [name, value] : headers_) {
    if (name != "connection") continue;
    if (lists(value, "close")) keep_alive_ = false;
  }
  if (lengths == 1) {
    const std::string& value = *headers_.find("content-length");
    if (value.empty() || value.size() > 18 || !std::all_of(value.begin(), value.end(), is_digit)) {
      return fail("its Content-Length is not a number of bytes");
    }
    content_length_ = std::stoull(value);
  }
  state_ = State::kBody;
  if (no_body_ || status_ == 204 || status_ == 304) {
    part_ = Part::kBody;
    state_ = State::kDone;
  } else if (encodings == 1) {
    if (lower(*headers_.find("transfer-encoding")) != "chunked") {
      return fail("its Transfer-Encoding is not chunked");
    }
    part_ = Part::kChunkSize;
  } else if (content_length_) {
    part_ = Part::kBody;
    body_left_ = *content_length_;
    if (body_left_ == 0) state_ = State::kDone;
  } else {
    part_ = Part::kUntilClosed;
  }
}

void ResponseParser::take_chunk_size(std::string_view line) {
  const auto [bytes, digits, too_large] = http_syntax::read_chunk_size(line);
  const std::string_view extension = trim(line.substr(digits));
  if (digits == 0 || too_large || (!extension.empty() && extension.front() != ';')) {
    return fail("a chunk's size is not a hexadecimal number");
  }
  body_left_ = bytes;
  head_bytes_ = 0;  // of the trailers
  part_ = bytes == 0 ? Part::kTrailers : Part::kChunkBytes;
}

}  // namespace sluice
