// A quantile of what was seen in the last minute. A value; bounded: of a flood the newest count.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <vector>

namespace sluice {

class RecentQuantile {
 public:
  static constexpr double kWindow = 60;  // seconds
  static constexpr size_t kMost = 1000;

  void observe(double value, double now) {
    seen_.push_back({now, value});
    if (seen_.size() > kMost) seen_.pop_front();
  }
  // 0 while fewer than `enough` were seen.
  double quantile(double q, double now, size_t enough = 5) {
    while (!seen_.empty() && seen_.front().at < now - kWindow) seen_.pop_front();
    if (seen_.size() < enough) return 0;
    std::vector<double> values;
    for (const Seen& each : seen_) values.push_back(each.value);
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
  }

 private:
  struct Seen {
    double at, value;
  };
  std::deque<Seen> seen_;
};

}  // namespace sluice
