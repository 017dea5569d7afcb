// One or many runs of a plan: a point for each rate or concurrency, each repeated for every seed; or the
// search for the highest rate that keeps the bounds. The calling thread waits.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/serve/bodies.h"
#include "bench/serve/flags.h"
#include "bench/serve/load_run.h"
#include "bench/serve/summary.h"

namespace sluice::bench {

struct Point {
  std::string label;  // "8 req/s", "concurrency 16"
  double rate_rps = kUnlimited;
  size_t concurrency = 0;
  uint64_t sessions = 0;  // planned in each run
  bool kept_slo = false;  // the wanted share of its requests was good
  std::vector<RunResult> runs;
  Summary summary;
};

struct Experiment {
  std::vector<Point> points;          // in the order of the sweep; of a search by rate
  std::optional<double> found_rate;   // of a search: the highest that kept the bounds
  std::optional<double> failed_rate;  // and the lowest that did not
  bool was_interrupted = false;
};

// What looks on: told which point begins, then its progress.
struct Spectator {
  std::function<void(const std::string& what, uint64_t sessions)> on_begin;
  Watch on_progress;
};

Experiment run_experiment(const Flags& flags, const Plan& plan, const Target& target,
                          const Workload& workload, const BodyMaker& bodies,
                          const std::atomic<bool>& interrupted, const Spectator& spectator);

// One small request: whether the server answers such at all. The error says why not, in a sentence.
Status try_once(const Target& target, const BodyMaker& bodies, double timeout_s,
                const std::atomic<bool>& interrupted);

// The search alone, for tests: `trial` says whether a rate keeps the bounds. Multiplies by 4 from `first`
// until one fails (or divides until one passes), then halves the gap's logarithm down to `tolerance`.
struct RateSearch {
  std::optional<double> highest_kept, lowest_failed;
};
RateSearch search_rate(double first, double tolerance,
                       const std::function<std::optional<bool>(double)>& trial);

}  // namespace sluice::bench
