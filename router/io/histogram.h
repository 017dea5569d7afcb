// Counts and histograms of what happens, for /metrics: plain numbers of one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace sluice::router {

// Buckets are upper bounds in seconds, ascending.
template <size_t N>
class Histogram {
 public:
  explicit constexpr Histogram(const std::array<double, N>& bounds) : bounds_(bounds) {}
  void observe(double seconds) {
    size_t at = 0;
    while (at < N && seconds > bounds_[at]) ++at;
    ++counts_[at];
    sum_ += seconds;
  }
  std::span<const double> bounds() const { return bounds_; }
  std::span<const uint64_t> counts() const { return counts_; }  // one more than bounds: what is beyond
  double sum() const { return sum_; }

 private:
  std::array<double, N> bounds_;
  std::array<uint64_t, N + 1> counts_{};
  double sum_ = 0;
};

inline constexpr std::array<double, 14> kAddedBounds = {2e-5, 5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 5e-4,
                                                        1e-3, 2e-3, 5e-3, 1e-2,   5e-2, .1,   1};
inline constexpr std::array<double, 16> kFirstByteBounds = {.005, .01, .025, .05, .1, .25, .5, .75,
                                                            1,    2.5, 5,    10,  20, 40,  80, 160};
inline constexpr std::array<double, 14> kDurationBounds = {.01, .05, .1, .25, .5,  1,   2.5,
                                                           5,   10,  30, 60,  120, 300, 600};

// What became of a model's shadow traffic.
struct ShadowCounters {
  std::map<std::string, uint64_t> requests;  // by status, or "dropped", "broken"
  Histogram<16> first_byte{kFirstByteBounds};
  Histogram<14> duration{kDurationBounds};
};

struct Counters {
  // (path, status) -> answers. Paths are the routes' own, so both sets are closed.
  std::map<std::pair<std::string, int>, uint64_t> requests;
  std::map<std::string, uint64_t> shed;  // by reason: what the router itself refused
  Histogram<14> added{kAddedBounds};     // from the whole request here to the whole request sent on
  Histogram<16> first_byte{kFirstByteBounds};
  Histogram<14> duration{kDurationBounds};
  Histogram<16> held{kFirstByteBounds};
  std::map<std::pair<std::string, std::string>, ShadowCounters> shadows;  // by model and its shadow
  uint64_t upstream_faults = 0;  // connections refused, broken, malformed answers
  uint64_t stalled = 0;          // answers given up for their silence
  uint64_t bytes_in = 0, bytes_out = 0;
};

}  // namespace sluice::router
