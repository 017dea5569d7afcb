#include "bench/serve/load_run.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "bench/serve/distribution.h"
#include "bench/serve/machine_use.h"

namespace sluice::bench {
namespace {

constexpr uint64_t kMostAhead = 20'000;
constexpr std::chrono::milliseconds kLook{100};
constexpr std::chrono::milliseconds kRunUp{20};  // all lanes are ready before the first request is due

std::vector<std::shared_ptr<const std::string>> prepare(const Workload& workload, const BodyMaker& bodies,
                                                        const RunSettings& settings,
                                                        const std::atomic<bool>& interrupted) {
  std::vector<std::shared_ptr<const std::string>> made;
  size_t bytes = 0;
  const LoadPlan& plan = settings.plan;
  // A closed loop that ends by time has no number.
  const uint64_t count =
      plan.times_s.empty() ? std::min(plan.session_count, kMostAhead) : plan.times_s.size();
  for (uint64_t i = 0; i < count && bytes < settings.prepare_bytes && !interrupted.load(); ++i) {
    made.push_back(std::make_shared<const std::string>(bodies.body(workload.session(i), 0, {})));
    bytes += made.back()->capacity() + 64;
  }
  return made;
}

}  // namespace

RunResult run_load(const Target& target, const Workload& workload, const BodyMaker& bodies,
                   const RunSettings& settings, const std::atomic<bool>& interrupted, const Watch& watch) {
  const auto prepared = prepare(workload, bodies, settings, interrupted);
  Progress progress;
  std::atomic<uint64_t> next_session{0};
  std::mutex mutex;
  std::condition_variable changed;
  size_t done = 0;
  size_t lane_count = std::max<size_t>(1, settings.lane_count);
  if (settings.plan.max_concurrency > 0) lane_count = std::min(lane_count, settings.plan.max_concurrency);
  IoThreads threads(static_cast<int>(lane_count));  // outlives the lanes, whose timers are its loops'
  std::vector<std::unique_ptr<Lane>> lanes;
  const Lane::Shared shared{
      target, workload, bodies, settings.plan, progress, next_session, prepared, [&](size_t) {
        std::lock_guard lock(mutex);
        ++done;
        changed.notify_one();
      }};
  for (size_t i = 0; i < lane_count; ++i)
    lanes.push_back(std::make_unique<Lane>(threads.at(static_cast<int>(i)), shared, i, lane_count));
  const auto cpu_before = read_cpu_count();
  const auto zero = Clock::now() + kRunUp;
  for (auto& lane : lanes) lane->start(zero);
  RunResult result;
  {
    std::unique_lock lock(mutex);
    while (done < lane_count) {
      changed.wait_for(lock, kLook);
      if (interrupted.load() && !std::exchange(result.was_interrupted, true)) {
        for (auto& lane : lanes) lane->stop();
      }
      if (watch) watch(progress, std::chrono::duration<double>(Clock::now() - zero).count());
    }
  }
  const double elapsed = std::chrono::duration<double>(Clock::now() - zero).count();
  result.machine_busy = busy_share(cpu_before, read_cpu_count());
  std::vector<double> stalls;
  for (auto& lane : lanes) {
    auto& records = lane->records();
    std::move(records.begin(), records.end(), std::back_inserter(result.records));
    result.client_busy = std::max(result.client_busy, lane->cpu_s() / std::max(elapsed, 1e-3));
    stalls.insert(stalls.end(), lane->stalls_ms().begin(), lane->stalls_ms().end());
  }
  result.worst_stall_ms = Distribution(std::move(stalls)).percentile(99);
  std::ranges::stable_sort(result.records, {}, &RequestRecord::planned_s);
  for (const RequestRecord& each : result.records)
    result.duration_s = std::max(result.duration_s, each.end_s);
  return result;
}

}  // namespace sluice::bench
