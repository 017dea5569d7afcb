// When requests arrive, planned ahead from a seed: gaps of a gamma distribution (1: Poisson) under a rate
// that is constant or changes with time. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::bench {

inline constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The rate goes from one value to the other in a straight line.
struct RateSegment {
  double from_rps = 0, to_rps = 0, seconds = 0;
};

struct ArrivalOptions {
  double rate_rps = kUnlimited;    // unlimited: all at once
  double burstiness = 1;           // the gamma distribution's shape: 1 Poisson, below it burstier
  bool is_constant = false;        // equal gaps, whatever the burstiness
  std::vector<RateSegment> curve;  // in place of rate_rps; nobody arrives behind its end
};

// Seconds from the start, ascending: at most `count`, and none at or after `duration_s`. Arrivals under a
// changing rate are those under rate 1, each moved to the time at which the rate's integral reaches its place
// (Lewis, Shedler 1979: inversion).
std::vector<double> plan_arrivals(const ArrivalOptions& options, size_t count, double duration_s,
                                  uint64_t seed);

// "2:10,8:20": 2 a second for 10 s, then 8 a second for 20 s; "1-9:30" goes from 1 to 9 within 30 s.
Result<std::vector<RateSegment>> parse_rate_steps(std::string_view text);

// From one rate to the other over so many requests; exponential: each second the rate grows by the same
// factor.
std::vector<RateSegment> make_ramp(double from_rps, double to_rps, size_t count, bool is_exponential);

}  // namespace sluice::bench
