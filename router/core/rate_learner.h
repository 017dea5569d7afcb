// How fast a replica computes, learned from what it did. Seconds to prefill n tokens behind c cached ones:
//   a*n + b*(c*n + n^2/2)
// the first term for the weights, the second for attention over everything before (it rules past some 32,000
// tokens). Recursive least squares of the two with a forgetting factor, in relative error, from the times
// between completed prefills of a busy replica. An observation far off the prediction counts, but as little
// as the nearest believable one would: a hiccup of ten seconds does not make a replica slow. Plain values.
#pragma once

#include <cstdint>

#include "router/core/units.h"

namespace sluice::router {

// The two sums over prompts that a time is linear in; they add up over a queue.
struct PrefillWork {
  double tokens = 0;     // sum of n
  double attention = 0;  // sum of c*n + n^2/2

  static PrefillWork of(uint32_t uncached, uint32_t cached) {
    const double n = uncached;
    return {n, n * cached + n * n / 2};
  }
  PrefillWork& operator+=(const PrefillWork& other) {
    tokens += other.tokens;
    attention += other.attention;
    return *this;
  }
  PrefillWork& operator-=(const PrefillWork& other) {
    tokens -= other.tokens;
    attention -= other.attention;
    return *this;
  }
};

struct PrefillRate {
  double token_seconds = 1.0 / 8000;  // a
  double attention_seconds = 0;       // b
  Seconds seconds(const PrefillWork& work) const {
    return token_seconds * work.tokens + attention_seconds * work.attention;
  }
};

class RateLearner {
 public:
  explicit RateLearner(PrefillRate prior = {}) : prior_(prior), rate_(prior) {}

  // A new guess for who has seen nothing yet: the mean of its fellows.
  void set_prior(PrefillRate prior);
  // `work` took `elapsed` seconds of a replica that was busy with nothing else to prefill.
  void observe_prefill(const PrefillWork& work, Seconds elapsed);
  void observe_decode_step(Seconds step);

  const PrefillRate& prefill() const { return rate_; }
  Seconds decode_step() const { return decode_step_; }  // between two tokens of one answer
  uint64_t observations() const { return observations_; }

 private:
  void solve();

  PrefillRate prior_;
  PrefillRate rate_;
  // Weighted sums of the normal equations.
  double xx_ = 0, xy_ = 0, yy_ = 0, xt_ = 0, yt_ = 0;
  uint64_t observations_ = 0;
  Seconds decode_step_ = 0.02;
  uint64_t decode_observations_ = 0;
};

}  // namespace sluice::router
