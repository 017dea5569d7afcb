#include "engine/step_pacer.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr double kNewShare = 0.2;  // of a new measurement in the averages

void follow(double& average, double measured) {
  average = average == 0 ? measured : average + kNewShare * (measured - average);
}

}  // namespace

StepPacer::StepPacer(int target_ms, int budget_tokens, int min_chunk_tokens)
    : target_seconds_(target_ms / 1000.0),
      budget_tokens_(budget_tokens),
      min_chunk_tokens_(std::min(min_chunk_tokens, budget_tokens)) {}

int StepPacer::prefill_limit() const {
  if (target_seconds_ <= 0 || seconds_per_token_ <= 0) return budget_tokens_;
  const double tokens = std::max(0.0, target_seconds_ - base_seconds_) / seconds_per_token_;
  if (tokens >= budget_tokens_) return budget_tokens_;
  return std::max(min_chunk_tokens_, static_cast<int>(tokens));
}

void StepPacer::step_took(double seconds, int prefill_tokens, int decode_sequences) {
  if (prefill_tokens > 0) {
    follow(seconds_per_token_,
           std::max(0.0, seconds - (decode_sequences > 0 ? base_seconds_ : 0)) / prefill_tokens);
  } else if (decode_sequences > 0) {
    follow(base_seconds_, seconds);
  }
}

}  // namespace sluice
