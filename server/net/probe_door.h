// The probes' own door: /health and /ready at a port and on a thread of their own, so that an answer tells
// how the process is, and not how long its I/O threads' queues are. Alive means that each of these threads
// goes on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/net/listener.h"

namespace sluice {

struct ProbeOptions {
  std::string host = "127.0.0.1";
  int port = 0;                            // 0: there is no such door
  std::chrono::milliseconds stall{30000};  // a thread that did nothing for so long hangs
};

// How it stands, asked for by each probe. Any thread, at once: they wait for nobody.
struct ProbeAnswers {
  std::function<HttpResponse()> health, ready;
};

class ProbeDoor {
 public:
  // `watched` outlives it.
  static Result<std::unique_ptr<ProbeDoor>> open(const ProbeOptions& options, IoThreads& watched,
                                                 ProbeAnswers answers);
  ~ProbeDoor();
  uint16_t port() const { return listener_->port(); }

 private:
  struct Pulse;
  ProbeDoor() : thread_(1) {}

  std::vector<std::shared_ptr<Pulse>> pulses_;  // one per watched thread
  IoThreads thread_;
  std::unique_ptr<Listener> listener_;  // last: it goes first
};

}  // namespace sluice
