// Whether a replica is worth trying, judged from what came of the last tries. A client's error (any 4xx but
// 408 and 429) says nothing about the replica. 429 and 503 are backpressure: no fault, but no more until the
// Retry-After has passed. Connections refused, reset or timed out, and other 5xx, are faults: `fault_limit`
// in a row open the breaker; after `open_seconds` (doubled each time it fails again, up to
// `max_open_seconds`) one request is let through, and `success_limit` good ones close it. A value; reads no
// clock.
#pragma once

#include "router/core/units.h"

namespace sluice::router {

struct BreakerOptions {
  int fault_limit = 5;
  int success_limit = 2;
  Seconds open_seconds = 2;
  Seconds max_open_seconds = 60;
  Seconds default_retry_after = 1;  // of a 429 or 503 that names none
  Seconds max_retry_after = 30;     // more than that is not believed
};

enum class BreakerState { kClosed, kOpen, kHalfOpen };

// What an answer's status says about the replica that gave it.
enum class Outcome { kGood, kNeutral, kBackpressure, kFault };
Outcome outcome_of_status(int status);

class Breaker {
 public:
  explicit Breaker(const BreakerOptions& options = {}) : options_(options) {}

  // May a request go there now? In kHalfOpen one at a time.
  bool allows(Seconds now) const;
  // When `allows` may become true by time alone; `now` or earlier when it is.
  Seconds opens_at() const;

  // Every request sent is told as started and, exactly once, as ended.
  void started(Seconds now);
  void ended(Outcome outcome, Seconds now, Seconds retry_after = 0);
  // A health check speaks for the replica as well: success closes an open breaker half-way at once.
  void probed(bool healthy, Seconds now);

  BreakerState state(Seconds now) const;
  Seconds backpressure_until() const { return backpressure_until_; }

 private:
  void open(Seconds now);

  BreakerOptions options_;
  bool open_ = false;  // open or half open, by open_until_
  int faults_ = 0;
  int successes_ = 0;
  int trying_ = 0;  // in flight while half open
  int failures_to_close_ = 0;
  Seconds open_until_ = 0;
  Seconds backpressure_until_ = 0;
};

}  // namespace sluice::router
