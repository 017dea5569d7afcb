#include "bench/serve/timeline.h"

#include <algorithm>
#include <cmath>

#include "bench/serve/summary.h"

namespace sluice::bench {
namespace {

constexpr size_t kPoints = 60;
constexpr double kLeastStretch = 0.25;
constexpr size_t kMaxSeconds = 1'000'000;

// When each token came, as the gaps tell.
template <class Visit>
void for_tokens(const RequestRecord& record, Visit visit) {
  if (std::isnan(record.first_s)) return;
  double at = record.first_s;
  visit(at);
  for (const float gap : record.gaps_ms) visit(at += gap / 1e3);
}

}  // namespace

Peaks find_peaks(const std::vector<RequestRecord>& records) {
  Peaks peaks;
  std::vector<uint32_t> seconds;
  std::vector<std::pair<double, int>> changes;  // of the number in flight
  for (const RequestRecord& record : records) {
    for_tokens(record, [&](double at) {
      const auto second = static_cast<size_t>(std::clamp(at, 0.0, double{kMaxSeconds}));
      if (second >= seconds.size()) seconds.resize(second + 1);
      ++seconds[second];
    });
    if (std::isnan(record.sent_s) || std::isnan(record.end_s)) continue;
    changes.emplace_back(record.sent_s, 1);
    changes.emplace_back(record.end_s, -1);
  }
  if (!seconds.empty()) peaks.tokens_per_s = *std::ranges::max_element(seconds);
  std::ranges::sort(changes);  // at one moment ends come before begins
  long now = 0;
  for (const auto& [at, change] : changes) {
    now += change;
    peaks.in_flight = std::max(peaks.in_flight, static_cast<size_t>(std::max(0L, now)));
  }
  return peaks;
}

std::vector<TimelinePoint> make_timeline(const std::vector<RequestRecord>& records, double duration_s) {
  if (records.empty() || !(duration_s > 0)) return {};
  const double stretch = std::max(kLeastStretch, duration_s / kPoints);
  const auto count = static_cast<size_t>(std::ceil(duration_s / stretch));
  std::vector<TimelinePoint> points(count);
  std::vector<std::vector<double>> ttfts(count);
  std::vector<long> begins(count + 1), ends(count + 1);
  const auto place = [&](double at) {
    return std::min(count - 1, static_cast<size_t>(std::max(0.0, at) / stretch));
  };
  for (const RequestRecord& record : records) {
    points[place(record.planned_s)].arrivals_per_s += 1 / stretch;
    if (!std::isnan(record.end_s)) {
      points[place(record.end_s)].ends_per_s += 1 / stretch;
      if (record.is_error()) points[place(record.end_s)].errors_per_s += 1 / stretch;
    }
    for_tokens(record, [&](double at) { points[place(at)].tokens_per_s += 1 / stretch; });
    if (record.outcome == Outcome::kDone && !std::isnan(record.first_s))
      ttfts[place(record.planned_s)].push_back((record.first_s - record.planned_s) * 1e3);
    if (std::isnan(record.sent_s) || std::isnan(record.end_s)) continue;
    // In flight at a stretch's middle: begun before it and not ended.
    const auto middle_after = [&](double at) {
      return std::min(count, static_cast<size_t>(std::max(0.0, std::ceil(at / stretch - 0.5))));
    };
    ++begins[middle_after(record.sent_s)];
    ++ends[middle_after(record.end_s)];
  }
  long in_flight = 0;
  for (size_t i = 0; i < count; ++i) {
    in_flight += begins[i] - ends[i];
    points[i].at_s = (static_cast<double>(i) + 0.5) * stretch;
    points[i].in_flight = static_cast<double>(in_flight);
    const Distribution ttft(std::move(ttfts[i]));
    points[i].ttft_p50_ms = ttft.percentile(50);
    points[i].ttft_p99_ms = ttft.percentile(99);
  }
  return points;
}

}  // namespace sluice::bench
