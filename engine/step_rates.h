// How fast this engine computes, learned from its own steps: for routers, which know no device. Pure
// arithmetic over measurements that are handed in. Engine thread only.
#pragma once

#include <algorithm>

namespace sluice {

class StepRates {
 public:
  explicit StepRates(int budget_tokens)
      : least_prefill_(std::min(kLeastPrefill, std::max(1, budget_tokens / 4))) {}

  void step_took(double seconds, int prefill_tokens) {
    if (seconds <= 0) return;
    if (prefill_tokens == 0)
      follow(decode_step_s_, seconds);
    else if (prefill_tokens >= least_prefill_)  // in smaller ones the step's own cost prevails
      follow(prefill_token_s_, seconds / prefill_tokens);
  }

  // 0: not known yet.
  double prefill_tokens_per_s() const { return prefill_token_s_ > 0 ? 1 / prefill_token_s_ : 0; }
  double decode_step_s() const { return decode_step_s_; }

 private:
  static constexpr int kLeastPrefill = 256;
  static constexpr double kWeight = 0.1;  // of the newest step, in an exponential average

  static void follow(double& average, double value) {
    average = average == 0 ? value : average + kWeight * (value - average);
  }

  const int least_prefill_;
  double prefill_token_s_ = 0;
  double decode_step_s_ = 0;
};

}  // namespace sluice
