#include "router/core/breaker.h"

#include <algorithm>

namespace sluice::router {

Outcome outcome_of_status(int status) {
  if (status == 429 || status == 503) return Outcome::kBackpressure;
  if (status == 408 || status >= 500 || status < 100) return Outcome::kFault;
  return status >= 400 ? Outcome::kNeutral : Outcome::kGood;
}

BreakerState Breaker::state(Seconds now) const {
  if (!open_) return BreakerState::kClosed;
  return now < open_until_ ? BreakerState::kOpen : BreakerState::kHalfOpen;
}

bool Breaker::allows(Seconds now) const {
  if (now < backpressure_until_) return false;
  const BreakerState current = state(now);
  return current == BreakerState::kClosed || (current == BreakerState::kHalfOpen && trying_ == 0);
}

Seconds Breaker::opens_at() const {
  return std::max(backpressure_until_, open_ ? open_until_ : 0.0);
}

void Breaker::started(Seconds) {
  ++trying_;
}

void Breaker::ended(Outcome outcome, Seconds now, Seconds retry_after) {
  trying_ = std::max(trying_ - 1, 0);
  switch (outcome) {
    case Outcome::kNeutral:
      return;
    case Outcome::kBackpressure:
      if (!(retry_after > 0)) retry_after = options_.default_retry_after;
      backpressure_until_ =
          std::max(backpressure_until_, now + std::min(retry_after, options_.max_retry_after));
      return;
    case Outcome::kGood:
      faults_ = 0;
      if (open_ && now >= open_until_ && ++successes_ >= options_.success_limit) {
        open_ = false;
        failures_to_close_ = 0;
      }
      return;
    case Outcome::kFault:
      ++faults_;
      // What was sent before it opened and fails now says nothing new.
      if (open_ ? now >= open_until_ : faults_ >= options_.fault_limit) open(now);
      return;
  }
}

void Breaker::open(Seconds now) {
  Seconds pause = options_.open_seconds;
  for (int i = 0; i < failures_to_close_ && pause < options_.max_open_seconds; ++i) pause *= 2;
  ++failures_to_close_;
  open_ = true;
  successes_ = 0;
  open_until_ = now + std::min(pause, options_.max_open_seconds);
}

void Breaker::probed(bool healthy, Seconds now) {
  if (open_ && healthy && now < open_until_) open_until_ = now;
}

}  // namespace sluice::router
