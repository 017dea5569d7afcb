// Where the engine's events come back into an I/O thread: one post per step, then each event to the answer it
// belongs to. One per I/O thread; everything but the sink's `post` happens there.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/request.h"
#include "server/metrics.h"
#include "server/net/io_threads.h"

namespace sluice {

class TokenListener {
 public:
  virtual ~TokenListener() = default;
  // `now`: when the step's events arrived. May open and close tags.
  virtual void on_tokens(int choice, TokenEvent&& event, Clock::time_point now) = 0;
};

class EventSwitch {
 public:
  explicit EventSwitch(IoThread& io);  // `io` outlives it and every engine that posts into the sink
  ~EventSwitch();

  std::shared_ptr<EventSink> sink() const;
  // Events with the returned tag go to `listener` until the tag is closed.
  uint64_t open(TokenListener& listener, int choice);
  void close(uint64_t tag);
  // From within on_tokens: handed to `metrics` once, after the step's last event.
  void note_inter_token(const std::shared_ptr<ModelMetrics>& metrics, double seconds);

  struct State;

 private:
  const std::shared_ptr<State> state_;
  const std::shared_ptr<EventSink> sink_;
};

}  // namespace sluice
