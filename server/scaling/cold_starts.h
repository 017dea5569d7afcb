// How long replicas take from their first sight until they are ready: what credit, forecasts and promises to
// waiting clients go by. Remembers the last 32. A value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <vector>

namespace sluice {

class ColdStarts {
 public:
  void took(double seconds) {
    last_.push_back(seconds);
    if (last_.size() > 32) last_.pop_front();
    ++count_;
  }
  size_t count() const { return count_; }
  // The 0.9 quantile; 0: none seen.
  double p90() const {
    if (last_.empty()) return 0;
    std::vector<double> sorted(last_.begin(), last_.end());
    std::ranges::sort(sorted);
    return sorted[static_cast<size_t>(0.9 * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
  // So long is a replica believed to be on its way: one that takes longer, because it finds no GPU or no
  // quota, shall not keep others from being asked for.
  double patience() const { return last_.empty() ? 300 : std::max(1.5 * p90(), 10.0); }

 private:
  std::deque<double> last_;
  size_t count_ = 0;
};

}  // namespace sluice
