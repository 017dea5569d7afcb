#include "engine/retry_estimate.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

constexpr auto kWindow = std::chrono::seconds(1);
constexpr double kNewShare = 0.3;       // of a window in the average
constexpr int kSecondsWhenUnknown = 5;  // nothing has ended yet
constexpr int kMaxSeconds = 300;

}  // namespace

void RetryEstimate::observe(uint64_t ended, Clock::time_point now) {
  if (window_start_ == Clock::time_point{}) window_start_ = now;
  if (now - window_start_ < kWindow) return;
  const double seconds = std::chrono::duration<double>(now - window_start_).count();
  const double rate = static_cast<double>(ended - ended_at_window_start_) / seconds;
  const double average = ended_per_second_.load(std::memory_order_relaxed);
  ended_per_second_.store(average == 0 ? rate : average + kNewShare * (rate - average),
                          std::memory_order_relaxed);
  ended_at_window_start_ = ended;
  window_start_ = now;
}

int RetryEstimate::seconds(int64_t waiting) const {
  const double rate = ended_per_second_.load(std::memory_order_relaxed);
  if (rate <= 0) return kSecondsWhenUnknown;
  const double seconds = std::ceil(static_cast<double>(waiting) / 2 / rate);
  return static_cast<int>(std::clamp(seconds, 1.0, static_cast<double>(kMaxSeconds)));
}

}  // namespace sluice
