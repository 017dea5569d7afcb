#include "server/scaling/concurrency_knee.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

constexpr double kKeep = 0.995;  // of the past, with each observation: some 200 count
constexpr double kUnknown = 1e9;
// Where n hardly varied, s1/s0 is not seen; it is drawn to one twentieth (a GPU's is less, a CPU's more) with
// the weight of this many observations at n = 16.
constexpr double kPrior = 2;
constexpr double kPriorRatio = 0.05;
constexpr double kPriorRunning = 16;

}  // namespace

void ConcurrencyKnee::observe(double running, double step) {
  if (!(running >= 1) || !(step > 0) || !std::isfinite(step) || !std::isfinite(running)) return;
  const double weight = 1 / (step * step);
  ww_ = kKeep * ww_ + weight;
  wn_ = kKeep * wn_ + weight * running;
  wnn_ = kKeep * wnn_ + weight * running * running;
  wt_ = kKeep * wt_ + weight * step;
  wnt_ = kKeep * wnt_ + weight * step * running;
  ++observations_;

  // The prior says one thing: s1 = ratio * s0. As an equation s1*n - ratio*s0*n = 0 at n = kPriorRunning.
  const double mean_weight = ww_ / std::min(static_cast<double>(observations_), 1 / (1 - kKeep));
  const double prior = kPrior * mean_weight * kPriorRunning * kPriorRunning;
  const double a = ww_ + prior * kPriorRatio * kPriorRatio, b = wn_ - prior * kPriorRatio, c = wnn_ + prior;
  const double determinant = a * c - b * b;
  if (determinant > 1e-12 * a * c) {
    first_ = (wt_ * c - wnt_ * b) / determinant;
    each_ = (wnt_ * a - wt_ * b) / determinant;
  }
  if (each_ <= 0) {
    each_ = 0;
    first_ = wt_ / ww_;
  } else if (first_ <= 0) {
    first_ = 0;
    each_ = wnt_ / wnn_;
  }
}

double ConcurrencyKnee::requests(double step_target) const {
  if (!is_known()) return kUnknown;
  double requests = each_ > 0 ? 4 * first_ / each_ : kUnknown;
  if (step_target > 0 && each_ > 0) requests = std::min(requests, (step_target - first_) / each_);
  return std::clamp(requests, 1.0, kUnknown);
}

}  // namespace sluice
