#include "bench/serve/experiment.h"

#include <algorithm>
#include <cmath>

#include "bench/serve/arrivals.h"
#include "bench/serve/random.h"

namespace sluice::bench {
namespace {

constexpr size_t kMaxTrials = 60;
constexpr double kGrowth = 4, kMostRate = 1e6, kLeastRate = 1e-3;
constexpr double kLeastTrialSessions = 30;
constexpr double kOverload = 4;  // a trial that takes so many times its length has failed
constexpr uint64_t kWarmupSeed = 1'000'000'007, kTrialSeed = 1'000'003;
constexpr size_t kWarmupConcurrency = 8;

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

class Course {
 public:
  Course(const Flags& flags, const Plan& plan, const Target& target, const Workload& workload,
         const BodyMaker& bodies, const std::atomic<bool>& interrupted, const Spectator& spectator)
      : flags_(flags),
        plan_(plan),
        target_(target),
        workload_(workload),
        bodies_(bodies),
        interrupted_(interrupted),
        spectator_(spectator) {}

  Experiment run() {
    warm_up();
    if (flags_.find_rate) {
      search();
    } else {
      for (const double rate : plan_.rates) {
        for (const size_t concurrency : plan_.concurrencies) {
          if (interrupted_.load()) break;
          experiment_.points.push_back(measure(rate, concurrency));
        }
      }
    }
    experiment_.was_interrupted = interrupted_.load();
    return std::move(experiment_);
  }

 private:
  void warm_up() {
    if (flags_.load.num_warmups == 0) return;
    RunSettings settings;
    settings.plan.session_count =
        std::min<uint64_t>(static_cast<uint64_t>(flags_.load.num_warmups), workload_.size());
    settings.plan.max_concurrency = kWarmupConcurrency;
    settings.plan.request_timeout_s = flags_.request_timeout;
    spectator_.on_begin("warm-up", settings.plan.session_count);
    const auto seed = static_cast<uint64_t>(flags_.load.seed) + kWarmupSeed;
    run_load(target_, workload_.with_seed(seed), bodies_, settings, interrupted_, spectator_.on_progress);
  }

  // Each point and repeat has prompts of its own: what an earlier one left in a prefix cache helps nobody.
  uint64_t seed_of(size_t point, size_t repeat) const {
    const auto seed = static_cast<uint64_t>(flags_.load.seed);
    return point == 0 && repeat == 0 ? seed : hash_combine(seed, (uint64_t{point} << 32) + repeat);
  }

  LoadPlan load_plan(double rate, size_t concurrency, uint64_t seed) const {
    LoadPlan load;
    load.session_count = plan_.session_count;
    load.max_concurrency = concurrency;
    load.duration_s = plan_.duration_s;
    load.warmup_s = flags_.load.warmup;
    load.request_timeout_s = flags_.request_timeout;
    const bool is_closed = std::isinf(rate) && plan_.curve.empty() && concurrency > 0;
    if (is_closed) return load;
    if (plan_.replays_trace) {
      for (uint64_t i = 0; i < plan_.session_count; ++i) {
        const double at = workload_.session(i).at_s.value_or(0);
        if (at >= plan_.duration_s) break;
        load.times_s.push_back(at);
      }
    } else {
      ArrivalOptions arrivals{.rate_rps = rate, .burstiness = flags_.load.burstiness};
      arrivals.is_constant = flags_.load.arrival == "constant";
      arrivals.curve = plan_.curve;
      load.times_s = plan_arrivals(arrivals, plan_.session_count, plan_.duration_s, seed);
    }
    load.session_count = load.times_s.size();
    return load;
  }

  SummaryOptions summary_options(bool is_open_loop) const {
    return {.slo = plan_.slo,
            .percentiles = plan_.percentiles,
            .warmup_s = flags_.load.warmup,
            .is_open_loop = is_open_loop,
            .shares_nothing = workload_.shares_nothing()};
  }

  Point measure(double rate, size_t concurrency) {
    Point point{.rate_rps = rate, .concurrency = concurrency};
    if (!std::isinf(rate)) point.label = format("%g req/s", rate);
    if (concurrency > 0)
      point.label += (point.label.empty() ? "concurrency " : ", concurrency ") + std::to_string(concurrency);
    if (!plan_.curve.empty()) point.label = flags_.load.rate_steps.empty() ? "ramp" : "steps";
    if (plan_.replays_trace) point.label = "trace";
    if (point.label.empty()) point.label = "all at once";
    bool is_open_loop = true;
    const auto repeats = static_cast<size_t>(flags_.load.seeds);
    for (size_t repeat = 0; repeat < repeats && !interrupted_.load(); ++repeat) {
      const uint64_t seed = seed_of(experiment_.points.size(), repeat);
      RunSettings settings{.plan = load_plan(rate, concurrency, seed)};
      settings.lane_count = static_cast<size_t>(flags_.client_threads);
      is_open_loop = !settings.plan.times_s.empty();
      point.sessions = settings.plan.session_count;
      std::string what = point.label;
      if (repeats > 1) what += ", seed " + std::to_string(repeat + 1) + " of " + std::to_string(repeats);
      spectator_.on_begin(what, plan_.ends_by_time ? 0 : point.sessions);
      point.runs.push_back(run_load(target_, workload_.with_seed(seed), bodies_, settings, interrupted_,
                                    spectator_.on_progress));
    }
    if (!is_open_loop) {  // by time, perhaps: as many as there were
      point.sessions = 0;
      for (const RunResult& run : point.runs)
        point.sessions += static_cast<uint64_t>(std::ranges::count(run.records, 0u, &RequestRecord::turn));
      point.sessions /= std::max<size_t>(1, point.runs.size());
    }
    if (point.runs.empty()) point.runs.emplace_back();
    point.summary = summarize(point.runs, summary_options(is_open_loop));
    judge(point);
    return point;
  }

  void judge(Point& point) const {
    const Summary& got = point.summary;
    const size_t asked = got.requests - got.cancelled;
    point.kept_slo =
        asked > 0 && static_cast<double>(got.good) >= flags_.find_share * static_cast<double>(asked);
  }

  std::optional<bool> try_rate(double rate) {
    if (interrupted_.load() || experiment_.points.size() >= kMaxTrials) return std::nullopt;
    const size_t number = experiment_.points.size();
    const uint64_t seed = hash_combine(static_cast<uint64_t>(flags_.load.seed) + kTrialSeed, number);
    const auto sessions = static_cast<size_t>(std::max(kLeastTrialSessions, rate * flags_.find_seconds));
    ArrivalOptions arrivals{.rate_rps = rate, .burstiness = flags_.load.burstiness};
    arrivals.is_constant = flags_.load.arrival == "constant";
    Point point{.label = format("%.4g req/s", rate), .rate_rps = rate};
    RunSettings settings;
    settings.plan.times_s =
        plan_arrivals(arrivals, std::min<uint64_t>(sessions, workload_.size()), 1e18, seed);
    settings.plan.session_count = point.sessions = settings.plan.times_s.size();
    settings.plan.request_timeout_s = flags_.request_timeout;
    settings.lane_count = static_cast<size_t>(flags_.client_threads);
    spectator_.on_begin("trying " + point.label, point.sessions);
    // What is still waiting long after the last arrival has missed every bound.
    const double enough_s = kOverload * std::max(flags_.find_seconds, settings.plan.times_s.back());
    std::atomic<bool> stop{false};
    const auto watch = [&](const Progress& progress, double elapsed_s) {
      if (interrupted_.load() || elapsed_s > enough_s) stop.store(true);
      spectator_.on_progress(progress, elapsed_s);
    };
    point.runs.push_back(run_load(target_, workload_.with_seed(seed), bodies_, settings, stop, watch));
    if (interrupted_.load()) return std::nullopt;
    point.runs[0].was_interrupted = false;
    point.summary = summarize(point.runs, summary_options(true));
    judge(point);
    const bool kept = point.kept_slo;
    experiment_.points.push_back(std::move(point));
    return kept;
  }

  void search() {
    const double first = std::isinf(plan_.rates[0]) ? 1 : plan_.rates[0];
    const RateSearch found =
        search_rate(first, flags_.find_tolerance, [this](double rate) { return try_rate(rate); });
    experiment_.found_rate = found.highest_kept;
    experiment_.failed_rate = found.lowest_failed;
    std::ranges::stable_sort(experiment_.points, {}, &Point::rate_rps);
  }

  const Flags& flags_;
  const Plan& plan_;
  const Target& target_;
  const Workload& workload_;
  const BodyMaker& bodies_;
  const std::atomic<bool>& interrupted_;
  const Spectator& spectator_;
  Experiment experiment_;
};

}  // namespace

Experiment run_experiment(const Flags& flags, const Plan& plan, const Target& target,
                          const Workload& workload, const BodyMaker& bodies,
                          const std::atomic<bool>& interrupted, const Spectator& spectator) {
  return Course(flags, plan, target, workload, bodies, interrupted, spectator).run();
}

RateSearch search_rate(double first, double tolerance,
                       const std::function<std::optional<bool>(double)>& trial) {
  RateSearch found;
  double rate = first;
  while (!found.highest_kept || !found.lowest_failed) {
    if (rate > kMostRate || rate < kLeastRate) return found;
    const std::optional<bool> kept = trial(rate);
    if (!kept) return found;
    (*kept ? found.highest_kept : found.lowest_failed) = rate;
    rate = *kept ? rate * kGrowth : rate / kGrowth;
  }
  while (*found.lowest_failed / *found.highest_kept > 1 + tolerance) {
    rate = std::sqrt(*found.lowest_failed * *found.highest_kept);
    const std::optional<bool> kept = trial(rate);
    if (!kept) return found;
    (*kept ? found.highest_kept : found.lowest_failed) = rate;
  }
  return found;
}

Status try_once(const Target& target, const BodyMaker& bodies, double timeout_s,
                const std::atomic<bool>& interrupted) {
  const PartSpec small{.random_input_len = 24, .random_output_len = 2, .cancel_share = 1};
  SLUICE_ASSIGN(const Workload workload, Workload::load({small}, kWarmupSeed));
  RunSettings settings;
  settings.plan.session_count = settings.plan.max_concurrency = 1;
  settings.plan.request_timeout_s = timeout_s;
  const RunResult run = run_load(target, workload, bodies, settings, interrupted, {});
  if (run.was_interrupted || run.records.empty()) return Error{ErrorCode::kCancelled, "Interrupted."};
  const RequestRecord& record = run.records[0];
  // After a token or two we know enough, however long the answer would be.
  if (record.outcome == Outcome::kDone || record.outcome == Outcome::kCancelled) return {};
  std::string why = record.fault.empty() ? std::string(name_of(record.outcome)) : record.fault;
  if (record.outcome == Outcome::kHttpStatus) why = std::to_string(record.status) + ": " + why;
  if (!why.ends_with('.')) why += '.';
  return Error{ErrorCode::kUnavailable, "A first request to " + target.full_url() + " failed: " + why};
}

}  // namespace sluice::bench
