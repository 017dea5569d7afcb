// Figures of a set of samples, from all of them: nothing is put into buckets. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace sluice::bench {

// Sorted once, then asked. NaN where there are no samples.
class Distribution {
 public:
  Distribution() : Distribution(std::vector<double>()) {}
  explicit Distribution(std::vector<double> samples);

  size_t count() const { return sorted_.size(); }
  double mean() const { return mean_; }
  double deviation() const { return deviation_; }  // of the samples, over n, as numpy's
  double min() const { return percentile(0); }
  double max() const { return percentile(100); }
  // Between the two nearest samples in a straight line (numpy's default), p from 0 to 100.
  double percentile(double p) const;
  // The share of samples at or below `value`.
  double share_within(double value) const;
  const std::vector<double>& sorted() const { return sorted_; }

 private:
  std::vector<double> sorted_;
  double mean_, deviation_;
};

struct Interval {
  double low = 0, high = 0;
};

// The mean of a few independent results within which, 19 times of 20, the true mean lies (Student's t).
// NaN with fewer than two.
Interval confidence_95(std::span<const double> results);
double standard_error(std::span<const double> results);  // of their mean; NaN with fewer than two
double student_t_975(size_t degrees_of_freedom);

}  // namespace sluice::bench
