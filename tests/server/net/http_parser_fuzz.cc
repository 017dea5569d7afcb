// Any bytes, in any pieces: no crash, limits kept, and the result does not depend on the cuts. The first byte
// seeds them.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "server/net/http_parser.h"

namespace {

struct Outcome {
  int requests = 0;
  std::string last;
  int fault = 0;
};

Outcome run(const std::string& bytes, uint32_t seed) {
  sluice::HttpLimits limits;
  limits.max_request_line_bytes = 512;
  limits.max_header_bytes = 2048;
  limits.max_header_count = 16;
  limits.max_body_bytes = 4096;
  sluice::RequestParser parser(limits);
  Outcome outcome;
  std::string buffer;
  for (size_t at = 0;;) {
    size_t used = parser.feed(buffer);
    buffer.erase(0, used);
    if (parser.state() == sluice::RequestParser::State::kDone) {
      SLUICE_CHECK_LE(parser.request().body.size(), limits.max_body_bytes);
      SLUICE_CHECK_LE(parser.request().headers.size(), limits.max_header_count);
      ++outcome.requests;
      outcome.last = parser.request().method + " " + parser.request().path + " " + parser.request().body;
      parser.reset();
      continue;
    }
    if (parser.state() == sluice::RequestParser::State::kFailed) {
      outcome.fault = parser.fault().status;
      return outcome;
    }
    if (used > 0) continue;
    if (at == bytes.size()) return outcome;
    seed = seed * 1664525U + 1013904223U;
    const size_t take = seed == 0 ? bytes.size() : std::min<size_t>(1 + (seed >> 24) % 37, bytes.size() - at);
    buffer.append(bytes, at, take);
    at += take;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const Outcome one = run(bytes, 1), two = run(bytes, data[0] * 7919U + 3);
  SLUICE_CHECK_EQ(one.requests, two.requests);
  SLUICE_CHECK_EQ(one.fault, two.fault);
  SLUICE_CHECK(one.last == two.last);
  return 0;
}
