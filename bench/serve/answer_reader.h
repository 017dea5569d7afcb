// Makes of a stream's events, or of an answer in one piece, what counts: tokens as they come, usage, the
// server's own times, the end. Sees the JSON where it lies; no allocation for an event that only carries
// text, unless the text is wanted. Pure; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bench/serve/target.h"

namespace sluice::bench {

// What the server told, over the whole answer.
struct Told {
  std::optional<uint32_t> input_tokens, output_tokens, cached_tokens;
  std::optional<double> queue_ms, prefill_ms;  // Sluice's `timings`
  std::string error;                           // of an error within an answer that began well; else empty
  std::string text;                            // where it is kept
  bool finished = false;                       // it said that it is complete
};

class AnswerReader {
 public:
  enum class Event : uint8_t {
    kText,       // brought something that was generated
    kNothing,    // a role, a usage, a heartbeat
    kMalformed,  // no JSON, or none that this API sends
  };

  AnswerReader(Endpoint endpoint, bool keeps_text) : endpoint_(endpoint), keeps_text_(keeps_text) {}

  // Of an event of a stream.
  Event read_event(std::string_view name, std::string_view data);
  // The whole body of an answer without a stream.
  Event read_body(std::string_view body);

  Told& told() { return told_; }

 private:
  Event read_object(std::string_view data);
  bool read_choices(std::string_view choices);
  bool read_delta(std::string_view delta);
  bool take_text(std::string_view value);
  void read_usage(std::string_view usage);
  void read_timings(std::string_view timings);
  void read_error(std::string_view error);
  void read_response(std::string_view response);

  const Endpoint endpoint_;
  const bool keeps_text_;
  Told told_;
};

}  // namespace sluice::bench
