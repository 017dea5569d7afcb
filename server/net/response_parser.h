// Bytes of an HTTP/1.1 connection to the answers on it, by RFC 9112, every length bounded; the body is not
// kept but shown where it lies. Pure: no socket, no clock; the result does not depend on how the bytes were
// cut. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/net/http_message.h"

namespace sluice {

struct ResponseLimits {
  size_t max_head_bytes = size_t{64} << 10;  // status line and headers, or trailers
  size_t max_header_count = 200;
};

class ResponseParser {
 public:
  enum class State : uint8_t {
    kHead,
    kBody,  // status() and headers() are complete
    kDone,
    kFailed,  // see fault(); the connection is of no more use
  };

  explicit ResponseParser(const ResponseLimits& limits = {}) : limits_(limits) {}

  // Before each answer. `no_body`: it answers a HEAD.
  void reset(bool no_body = false);
  // Consumes bytes from the front and says how many; what of them is the body's next piece is in `piece`.
  // Returns early when the head is complete, after each piece, and when the answer is complete.
  size_t feed(std::string_view bytes, std::string_view& piece);
  // The peer closed: that is the end of a body without a length, and otherwise a fault.
  void end_of_stream();

  State state() const { return state_; }
  bool started() const { return started_; }  // any byte of this answer seen
  int status() const { return status_; }
  HeaderList& headers() { return headers_; }  // names in lower case
  // Of the body, where it was announced.
  std::optional<uint64_t> content_length() const { return content_length_; }
  // After kDone: another request may be sent on the connection.
  bool keep_alive() const { return keep_alive_ && part_ != Part::kUntilClosed; }
  const std::string& fault() const { return fault_; }

 private:
  enum class Part : uint8_t {
    kStatusLine,
    kHeaders,
    kBody,
    kUntilClosed,
    kChunkSize,
    kChunkBytes,
    kChunkEnd,
    kTrailers
  };
  size_t feed_line(std::string_view bytes);
  void take_line(std::string_view line);
  void take_status_line(std::string_view line);
  void take_header(std::string_view line, bool keep);
  void end_headers();
  void take_chunk_size(std::string_view line);
  void fail(std::string message);

  const ResponseLimits limits_;
  State state_ = State::kHead;
  Part part_ = Part::kStatusLine;
  std::string line_;  // an incomplete line
  size_t head_bytes_ = 0;
  size_t header_count_ = 0;
  bool started_ = false;
  bool no_body_ = false;
  bool keep_alive_ = true;
  int minor_version_ = 1;
  int status_ = 0;
  int interim_count_ = 0;  // answers of 1xx before this one
  uint64_t body_left_ = 0;
  std::optional<uint64_t> content_length_;
  HeaderList headers_;
  std::string fault_;
};

}  // namespace sluice
