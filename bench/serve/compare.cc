#include "bench/serve/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sluice::bench {
namespace {

constexpr const char* kCompared[] = {
    "request_throughput", "request_goodput", "output_throughput", "mean_ttft_ms",   "median_ttft_ms",
    "p99_ttft_ms",        "mean_tpot_ms",    "median_tpot_ms",    "p99_tpot_ms",    "mean_itl_ms",
    "median_itl_ms",      "p99_itl_ms",      "mean_e2el_ms",      "median_e2el_ms", "p99_e2el_ms"};

bool more_is_better(const std::string& name) {
  return name.ends_with("_throughput") || name == "request_goodput";
}

double error_of(const RunFigures& run, const std::string& name) {
  const auto found = run.standard_errors.find(name);
  return found == run.standard_errors.end() ? kNever : found->second;
}

Change judged(std::string name, double before, double after, double noise, const CompareOptions& options) {
  Change change{std::move(name), before, after, noise};
  const double difference = after - before;
  const double relative = before != 0 ? std::abs(difference / before) : difference != 0 ? 1 : 0;
  const bool is_real =
      std::isnan(noise) ? relative >= options.least_change_unproved
                        : relative >= options.least_change && std::abs(difference) > options.sigmas * noise;
  if (is_real) {
    change.verdict = (difference > 0) == more_is_better(change.name) ? Verdict::kBetter : Verdict::kWorse;
  }
  return change;
}

}  // namespace

std::vector<Change> compare_runs(const RunFigures& before, const RunFigures& after,
                                 const CompareOptions& options) {
  std::vector<Change> changes;
  for (const char* name : kCompared) {
    const double was = before.figure(name), is = after.figure(name);
    if (!std::isfinite(was) || !std::isfinite(is)) continue;
    const double noise = std::hypot(error_of(before, name), error_of(after, name));
    changes.push_back(judged(name, was, is, noise, options));
  }
  // Failures are counts: their noise is that of a coin. Half a failure more keeps a share of 0 from being
  // sure.
  const auto share = [](const RunFigures& run) { return run.requests > 0 ? run.failed / run.requests : 0; };
  const auto variance = [](const RunFigures& run) {
    if (run.requests <= 0) return 1.0;
    const double p = std::min(0.5, (run.failed + 0.5) / run.requests);
    return p * (1 - p) / run.requests;
  };
  changes.push_back(judged("failed_share", share(before), share(after),
                           std::sqrt(variance(before) + variance(after)), options));
  return changes;
}

bool Comparison::any_worse() const {
  return std::ranges::any_of(pairs, [](const PairOfRuns& pair) {
    return std::ranges::any_of(pair.changes,
                               [](const Change& each) { return each.verdict == Verdict::kWorse; });
  });
}

Result<Comparison> compare_files(const std::vector<RunFigures>& before, const std::vector<RunFigures>& after,
                                 const CompareOptions& options) {
  Comparison comparison;
  const auto add = [&](const RunFigures& a, const RunFigures& b) {
    comparison.pairs.push_back({a, b, compare_runs(a, b, options)});
  };
  if (before.size() == 1 && after.size() == 1) {
    add(before[0], after[0]);
    return comparison;
  }
  for (const RunFigures& each : before) {
    const auto same = std::ranges::find(after, each.point, &RunFigures::point);
    if (same != after.end())
      add(each, *same);
    else
      comparison.unmatched.push_back("'" + each.point + "' is in the first file alone");
  }
  for (const RunFigures& each : after) {
    if (std::ranges::find(before, each.point, &RunFigures::point) == before.end())
      comparison.unmatched.push_back("'" + each.point + "' is in the second file alone");
  }
  if (comparison.pairs.empty())
    return invalid_argument("",
                            "The two files have no point in common: " + comparison.unmatched.front() + ".");
  return comparison;
}

std::string table_of(const Comparison& comparison) {
  std::string out;
  char text[400];
  for (const PairOfRuns& pair : comparison.pairs) {
    std::snprintf(text, sizeof text, "\n%.100s -> %.100s\n  %-22s %12s %12s %9s %9s\n",
                  pair.before.label.c_str(), pair.after.label.c_str(), "", "before", "after", "change",
                  "noise");
    out += text;
    for (const Change& each : pair.changes) {
      const auto share = [&](double value) { return each.before != 0 ? 100 * value / each.before : kNever; };
      const double moved = share(each.after - each.before), noise = share(each.noise);
      const char* verdict = each.verdict == Verdict::kWorse    ? "  worse"
                            : each.verdict == Verdict::kBetter ? "  better"
                                                               : "";
      std::snprintf(text, sizeof text, "  %-22s %12.4g %12.4g", each.name.c_str(), each.before, each.after);
      out += text;
      std::snprintf(text, sizeof text, " %+8.1f%%", moved);
      out += std::isnan(moved) ? "          " : text;
      std::snprintf(text, sizeof text, " %8.1f%%", noise);
      out += std::isnan(noise) ? "  unknown " : text;
      out.append(verdict).append("\n");
    }
  }
  for (const std::string& each : comparison.unmatched) out += "\nNot compared: " + each + ".\n";
  out += comparison.any_worse() ? "\nSomething became worse, beyond noise.\n"
                                : "\nNothing became worse beyond noise.\n";
  return out;
}

}  // namespace sluice::bench
