// What became of one request. A value.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::bench {

inline constexpr double kNever = std::numeric_limits<double>::quiet_NaN();

enum class Outcome : uint8_t {
  kDone,
  kConnect,     // no connection, or none that took the request
  kTimeout,     // more than --request-timeout since the send
  kHttpStatus,  // not 2xx
  kBroken,      // the connection ended within the answer, or the stream without its end
  kBadBody,     // not what the API sends
  kServer,      // an error told within an answer that began well
  kCancelled,   // the client left, as planned
  kCut,         // the run was interrupted
};
std::string_view name_of(Outcome outcome);  // "connect", "timeout", …

// Times in seconds since the run's start, on one clock.
struct RequestRecord {
  uint64_t session = 0;
  uint32_t turn = 0;
  uint32_t part = 0;
  Outcome outcome = Outcome::kCut;
  int16_t status = 0;         // of HTTP; 0: no answer
  bool is_warmup = false;     // not to be counted
  double planned_s = 0;       // when it was due
  double sent_s = kNever;     // when it was handed to a connection
  double first_s = kNever;    // its first token
  double last_s = kNever;     // its last token
  double end_s = kNever;      // the end of its answer
  uint32_t wanted_input = 0;  // tokens; 0: not known beforehand
  uint32_t wanted_output = 0;
  uint32_t input_tokens = 0;   // by usage; without it as wanted
  uint32_t output_tokens = 0;  // by usage; without it as events
  uint32_t events = 0;         // that brought text
  int64_t cached_tokens = -1;  // -1: not told
  bool has_usage = false;
  float queue_ms = std::numeric_limits<float>::quiet_NaN();  // as the server told it
  std::vector<float> gaps_ms;                                // between events, one fewer than those
  std::string fault;

  bool is_error() const {
    return outcome != Outcome::kDone && outcome != Outcome::kCancelled && outcome != Outcome::kCut;
  }
};

}  // namespace sluice::bench
