// How long a refused client should wait: the time in which, at the rate at which requests have ended lately,
// half of those that wait now will have been served. Written by the engine thread, read by any.
#pragma once

#include <atomic>

#include "engine/request.h"

namespace sluice {

class RetryEstimate {
 public:
  // `ended`: requests that ended since the start, whatever the reason.
  void observe(uint64_t ended, Clock::time_point now);
  int seconds(int64_t waiting) const;

 private:
  uint64_t ended_at_window_start_ = 0;
  Clock::time_point window_start_;
  std::atomic<double> ended_per_second_ = 0;
};

}  // namespace sluice
