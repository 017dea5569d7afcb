#include "router/core/rate_learner.h"

#include <algorithm>
#include <cmath>

namespace sluice::router {
namespace {

constexpr double kKeep = 0.97;      // of the past, with each observation: some 33 count
constexpr double kBelievable = 3;   // an observation counts as at most so many times off
constexpr double kPriorWeight = 1;  // the prior counts as so many prompts of 4000 tokens
constexpr double kPriorTokens = 4000;
// Attention over c tokens costs as much as the weights at a c of some 4,000 (135 M parameters) to 30,000 (8
// B) and more; at no less than 2,000. Without this bound few kinds of prompts can be explained by attention
// alone, and a token behind nothing by no time at all.
constexpr double kMostAttention = 1.0 / 2000;
constexpr uint64_t kWarmUp = 3;  // observations that may be as far off as they like: the prior knows little

}  // namespace

void RateLearner::set_prior(PrefillRate prior) {
  prior_ = prior;
  if (observations_ == 0) rate_ = prior;
}

void RateLearner::observe_prefill(const PrefillWork& work, Seconds elapsed) {
  const double predicted = rate_.seconds(work);
  if (!(work.tokens > 0) || !(elapsed > 0) || !(predicted > 0) || !std::isfinite(elapsed)) return;
  const double widest = observations_ < kWarmUp ? 1000 : kBelievable;
  const double time = std::clamp(elapsed, predicted / widest, predicted * widest);
  // By 1/tokens^2, so that short and long prompts count alike; not by the time, or a replica's fast days
  // would outweigh its slow ones.
  const double weight = 1 / (work.tokens * work.tokens);
  xx_ = kKeep * xx_ + weight * work.tokens * work.tokens;
  xy_ = kKeep * xy_ + weight * work.tokens * work.attention;
  yy_ = kKeep * yy_ + weight * work.attention * work.attention;
  xt_ = kKeep * xt_ + weight * work.tokens * time;
  yt_ = kKeep * yt_ + weight * work.attention * time;
  ++observations_;
  solve();
}

// Least squares with a weak pull of each coefficient to the prior (ridge), within what models are like.
void RateLearner::solve() {
  const double w = kPriorWeight / (kPriorTokens * kPriorTokens);
  const double attention =
      kPriorTokens * kPriorTokens;  // scale of the second sum: prompts of twice the length
  const double xx = xx_ + w * kPriorTokens * kPriorTokens;
  const double yy = yy_ + w * attention * attention;
  const double xt = xt_ + w * kPriorTokens * kPriorTokens * prior_.token_seconds;
  const double yt = yt_ + w * attention * attention * prior_.attention_seconds;
  const double determinant = xx * yy - xy_ * xy_;
  double a = xt / xx, b = 0;
  if (determinant > 1e-9 * xx * yy) {
    a = (xt * yy - yt * xy_) / determinant;
    b = (yt * xx - xt * xy_) / determinant;
  }
  if (b < 0) {
    b = 0;
    a = xt / xx;
  } else if (b > a * kMostAttention) {
    // Along b = a * kMostAttention.
    a = (xt + kMostAttention * yt) / (xx + 2 * kMostAttention * xy_ + kMostAttention * kMostAttention * yy);
    b = a * kMostAttention;
  }
  rate_ = {std::max(a, 1e-9), std::max(b, 0.0)};
}

void RateLearner::observe_decode_step(Seconds step) {
  if (!(step > 0) || !std::isfinite(step)) return;
  const double weight = std::max(0.05, 1.0 / static_cast<double>(++decode_observations_));
  decode_step_ += weight * (std::min(step, decode_step_ * 10) - decode_step_);
}

}  // namespace sluice::router
