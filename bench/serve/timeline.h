// A run as it went, second by second. Pure.
#pragma once

#include <vector>

#include "bench/serve/request_record.h"

namespace sluice::bench {

struct TimelinePoint;

struct Peaks {
  double tokens_per_s = 0;  // in any whole second since the start
  size_t in_flight = 0;
};
Peaks find_peaks(const std::vector<RequestRecord>& records);

// Up to sixty stretches of equal length from the start to `duration_s`.
std::vector<TimelinePoint> make_timeline(const std::vector<RequestRecord>& records, double duration_s);

}  // namespace sluice::bench
