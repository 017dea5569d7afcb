// One run of a plan against a server: lanes on I/O threads of their own, waited for; all that came of it, and
// how much of the machine it took. The calling thread waits and shows the progress.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "bench/serve/lane.h"

namespace sluice::bench {

struct RunSettings {
  LoadPlan plan;
  size_t lane_count = 1;
  size_t prepare_bytes = size_t{512} << 20;  // of bodies that are made before the run
};

struct RunResult {
  std::vector<RequestRecord> records;  // by the time they were due
  double duration_s = 0;               // to the end of the last answer
  double client_busy = 0;              // of a lane's thread's time, the busiest lane: 0 to 1
  double machine_busy = 0;             // of all cores; NaN: not known
  double worst_stall_ms = 0;           // of the lanes' clock ticks, the 99th percentile of lateness
  bool was_interrupted = false;
};

using Watch = std::function<void(const Progress& progress, double elapsed_s)>;

// Ends early, with what there is, once `interrupted` is set.
RunResult run_load(const Target& target, const Workload& workload, const BodyMaker& bodies,
                   const RunSettings& settings, const std::atomic<bool>& interrupted, const Watch& watch);

}  // namespace sluice::bench
