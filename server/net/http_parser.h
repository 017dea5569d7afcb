// Bytes to requests by RFC 9112, strictly: one framing or a fault, every length bounded, no leniency that
// another HTTP implementation could read differently (no bare LF, no folded headers, no second
// Content-Length, no Transfer-Encoding but "chunked"). Pure: no socket, no clock; the result does not depend
// on how the bytes were cut. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/net/http_message.h"

namespace sluice {

class RequestParser {
 public:
  enum class State : uint8_t {
    kHead,  // the request line and headers are not complete
    kBody,  // the head is complete and may be judged; the body is not (an empty body too, until `feed` is
            // called again)
    kDone,
    kFailed,  // see fault(); the connection must end after the answer
  };

  explicit RequestParser(const HttpLimits& limits) : limits_(limits) {}

  // Consumes bytes from the front and says how many. Returns early when the head is complete and when the
  // request is.
  size_t feed(std::string_view bytes);
  State state() const { return state_; }
  bool started() const { return total_bytes_ > 0 || !line_.empty(); }  // any byte of this request seen
  // No byte of a body can follow the head.
  bool body_is_empty() const { return !chunked_ && body_left_ == 0; }
  HttpRequest& request() { return request_; }
  const HttpFault& fault() const { return fault_; }
  void reset();

 private:
  enum class Part : uint8_t { kRequestLine, kHeaders, kBody, kChunkSize, kChunkBytes, kChunkEnd, kTrailers };

  size_t feed_line(std::string_view bytes);
  size_t feed_bytes(std::string_view bytes);
  void take_line(std::string_view line);
  void take_request_line(std::string_view line);
  bool take_target(std::string_view target);
  bool take_header(std::string_view line, bool keep);
  void end_headers();
  void take_chunk_size(std::string_view line);
  void fail(int status, std::string message);
  size_t line_limit() const;

  const HttpLimits limits_;
  State state_ = State::kHead;
  Part part_ = Part::kRequestLine;
  std::string line_;        // an incomplete line
  size_t total_bytes_ = 0;  // of this request, everything but the body's content
  size_t header_count_ = 0;
  bool skipped_empty_line_ = false;
  bool chunked_ = false;
  uint64_t body_left_ = 0;  // of the body, or of the chunk
  HttpRequest request_;
  HttpFault fault_;
};

}  // namespace sluice
