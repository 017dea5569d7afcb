#include "bench/serve/arrivals.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "bench/serve/random.h"

namespace sluice::bench {
namespace {

constexpr uint64_t kArrivals = 1;  // purpose of the draws
constexpr size_t kRampPieces = 64;
constexpr size_t kMaxSegments = 10'000;

double area(const RateSegment& segment) {
  return (segment.from_rps + segment.to_rps) / 2 * segment.seconds;
}

// After how many seconds of the segment its integral is `wanted`, which it reaches: the root of
// slope/2 t^2 + from t = wanted, written so that a slope of 0 divides by nothing.
double time_of(const RateSegment& segment, double wanted) {
  const double slope = (segment.to_rps - segment.from_rps) / segment.seconds;
  const double root = std::sqrt(std::max(0.0, segment.from_rps * segment.from_rps + 2 * slope * wanted));
  const double divisor = segment.from_rps + root;
  return divisor > 0 ? std::min(segment.seconds, 2 * wanted / divisor) : segment.seconds;
}

bool read_number(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

}  // namespace

std::vector<double> plan_arrivals(const ArrivalOptions& options, size_t count, double duration_s,
                                  uint64_t seed) {
  std::vector<double> times;
  if (options.curve.empty() && std::isinf(options.rate_rps)) {
    times.assign(duration_s > 0 ? count : 0, 0.0);
    return times;
  }
  Random random(seed, kArrivals, 0);
  const auto gap = [&] {
    if (options.is_constant) return 1.0;
    return options.burstiness == 1 ? random.exponential(1) : random.gamma(options.burstiness);
  };
  double place = options.is_constant ? 0 : gap();  // under rate 1
  size_t segment = 0;
  double segment_place = 0, segment_time = 0;  // where it begins
  while (times.size() < count) {
    double at = place / options.rate_rps;
    if (!options.curve.empty()) {
      while (segment < options.curve.size() && place > segment_place + area(options.curve[segment])) {
        segment_place += area(options.curve[segment]);
        segment_time += options.curve[segment].seconds;
        ++segment;
      }
      if (segment == options.curve.size()) break;
      at = segment_time + time_of(options.curve[segment], place - segment_place);
    }
    if (at >= duration_s) break;
    times.push_back(at);
    place += gap();
  }
  return times;
}

Result<std::vector<RateSegment>> parse_rate_steps(std::string_view text) {
  std::vector<RateSegment> curve;
  const auto wrong = [&](std::string_view step) {
    return invalid_argument("rate-steps", "--rate-steps: '" + std::string(step.substr(0, 60)) +
                                              "' is not RATE:SECONDS or FROM-TO:SECONDS, as in 2:10,2-8:30.");
  };
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view step = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const size_t colon = step.find(':');
    if (colon == std::string_view::npos || curve.size() == kMaxSegments) return wrong(step);
    const std::string_view rates = step.substr(0, colon);
    const size_t dash = rates.find('-');
    RateSegment segment;
    if (!read_number(rates.substr(0, dash), segment.from_rps)) return wrong(step);
    segment.to_rps = segment.from_rps;
    if (dash != std::string_view::npos && !read_number(rates.substr(dash + 1), segment.to_rps))
      return wrong(step);
    if (!read_number(step.substr(colon + 1), segment.seconds)) return wrong(step);
    if (segment.from_rps < 0 || segment.to_rps < 0 || segment.seconds <= 0) return wrong(step);
    curve.push_back(segment);
  }
  if (curve.empty()) return wrong("");
  return curve;
}

std::vector<RateSegment> make_ramp(double from_rps, double to_rps, size_t count, bool is_exponential) {
  const double ratio = to_rps / from_rps;
  const bool is_flat = std::abs(ratio - 1) < 1e-9;
  const double mean =
      is_exponential && !is_flat ? (to_rps - from_rps) / std::log(ratio) : (from_rps + to_rps) / 2;
  const double seconds = static_cast<double>(count) / mean;
  if (!is_exponential) return {{from_rps, to_rps, seconds}};
  std::vector<RateSegment> curve;
  const auto rate = [&](size_t piece) {
    return from_rps * std::pow(ratio, static_cast<double>(piece) / kRampPieces);
  };
  for (size_t i = 0; i < kRampPieces; ++i) curve.push_back({rate(i), rate(i + 1), seconds / kRampPieces});
  return curve;
}

}  // namespace sluice::bench
