// How many requests a replica runs at once before more of them only make each slower: learned from the time
// between two tokens of an answer at the number that ran meanwhile. A step takes s0 + s1*n, so n answers get
// n/(s0 + s1*n) tokens a second, of which 1/s1 is the most that any n reaches; the knee is where four fifths
// of that are reached: n = 4*s0/s1. Least squares with a forgetting factor, in relative error. A value.
#pragma once

#include <cstdint>

namespace sluice {

class ConcurrencyKnee {
 public:
  // One answer: `step` seconds between two of its tokens while `running` requests ran on its replica.
  void observe(double running, double step);

  bool is_known() const { return observations_ >= kEnough; }
  uint64_t observations() const { return observations_; }
  // Requests at once. With a target > 0 for the step also no more than keep it, at least 1. 1e9 until known.
  double requests(double step_target = 0) const;
  // Seconds of a step with n running.
  double step(double running) const { return first_ + each_ * running; }

 private:
  static constexpr uint64_t kEnough = 20;

  // Weighted sums of the normal equations.
  double ww_ = 0, wn_ = 0, wnn_ = 0, wt_ = 0, wnt_ = 0;
  double first_ = 0;  // s0
  double each_ = 0;   // s1
  uint64_t observations_ = 0;
};

}  // namespace sluice
