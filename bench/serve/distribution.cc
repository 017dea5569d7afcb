#include "bench/serve/distribution.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace sluice::bench {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Distribution::Distribution(std::vector<double> samples) : sorted_(std::move(samples)) {
  std::ranges::sort(sorted_);
  const auto n = static_cast<double>(sorted_.size());
  if (sorted_.empty()) {
    mean_ = deviation_ = kNone;
    return;
  }
  mean_ = std::accumulate(sorted_.begin(), sorted_.end(), 0.0) / n;
  double squares = 0;
  for (const double each : sorted_) squares += (each - mean_) * (each - mean_);
  deviation_ = std::sqrt(squares / n);
}

double Distribution::percentile(double p) const {
  if (sorted_.empty()) return kNone;
  const double place = std::clamp(p, 0.0, 100.0) / 100 * static_cast<double>(sorted_.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted_.size() - 1);
  return sorted_[below] + (sorted_[above] - sorted_[below]) * (place - static_cast<double>(below));
}

double Distribution::share_within(double value) const {
  if (sorted_.empty()) return kNone;
  const auto within = std::ranges::upper_bound(sorted_, value) - sorted_.begin();
  return static_cast<double>(within) / static_cast<double>(sorted_.size());
}

double student_t_975(size_t degrees_of_freedom) {
  static constexpr std::array kTable = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                        2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                        2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                        2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
  if (degrees_of_freedom == 0) return kNone;
  if (degrees_of_freedom <= kTable.size()) return kTable[degrees_of_freedom - 1];
  return 1.96 + 2.4 / static_cast<double>(degrees_of_freedom);  // within 0.003 of the table beyond 30
}

double standard_error(std::span<const double> results) {
  if (results.size() < 2) return kNone;
  const auto n = static_cast<double>(results.size());
  const double mean = std::accumulate(results.begin(), results.end(), 0.0) / n;
  double squares = 0;
  for (const double each : results) squares += (each - mean) * (each - mean);
  return std::sqrt(squares / (n - 1) / n);
}

Interval confidence_95(std::span<const double> results) {
  if (results.size() < 2) return {kNone, kNone};
  const double mean =
      std::accumulate(results.begin(), results.end(), 0.0) / static_cast<double>(results.size());
  const double reach = student_t_975(results.size() - 1) * standard_error(results);
  return {mean - reach, mean + reach};
}

}  // namespace sluice::bench
