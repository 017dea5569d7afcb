#include "server/scaling/demand.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

constexpr double kSlack = 1e-6;  // a whole number that arithmetic missed by a hair is that number

double whole(double replicas) {
  return std::max(0.0, std::ceil(replicas - kSlack));  // and no -0
}

double over(double seen, double target) {
  return target > 0 ? seen / target : 0;
}

// So many have computed what waits, and what arrives meanwhile, within the budget; or, since one that is
// asked for now comes only after a cold start, by then.
double backlog_of(const DemandOptions& options, const Load& load) {
  const double budget = std::max(options.ttft_target, 1e-3);
  if (load.cold_start <= 0 || load.offered <= 0) return load.backlog_seconds / budget;
  return std::min(load.offered + load.backlog_seconds / (budget + load.cold_start),
                  load.backlog_seconds / budget);
}

}  // namespace

const char* name_of(DemandTerm term) {
  constexpr const char* kNames[kDemandTerms] = {"none", "arrivals", "concurrency", "backlog",
                                                "kv",   "slo",      "forecast"};
  return kNames[static_cast<size_t>(term)];
}

Load& Load::operator+=(const Load& other) {
  in_flight += other.in_flight;
  queued += other.queued;
  uncomputed += other.uncomputed;
  backlog_seconds += other.backlog_seconds;
  offered += other.offered;
  cold_start = std::max(cold_start, other.cold_start);
  ttft_p90 = std::max(ttft_p90, other.ttft_p90);
  itl_p90 = std::max(itl_p90, other.itl_p90);
  // The replicas are the same: each router sees all of them, and their own word on KV.
  kv_in_use = std::max(kv_in_use, other.kv_in_use);
  knee = std::min(knee, other.knee);
  ready = std::max(ready, other.ready);
  loading = std::max(loading, other.loading);
  return *this;
}

Demand demand_of(const DemandOptions& options, const Load& load, double forecast) {
  Demand demand;
  const auto set = [&](DemandTerm term, double replicas) {
    demand.terms[static_cast<size_t>(term)] = replicas;
    if (replicas <= demand.raw) return;
    demand.raw = replicas;
    demand.reason = term;
  };
  set(DemandTerm::kConcurrency, load.in_flight / std::max(load.knee, 1.0));
  set(DemandTerm::kArrivals, load.offered / options.busy_full);
  set(DemandTerm::kBacklog, std::min(backlog_of(options, load), load.uncomputed));
  set(DemandTerm::kKv, load.kv_in_use / options.kv_full);
  const double late = std::max(over(load.ttft_p90, options.slo_ttft), over(load.itl_p90, options.slo_itl));
  if (late > 1 && load.in_flight > 0) set(DemandTerm::kSlo, load.ready * std::min(late, 2.0));
  set(DemandTerm::kForecast, forecast);

  const double there = load.ready + load.loading;
  double wanted = whole(demand.raw);
  // Who has a request, or a replica that is still loading for one, keeps one.
  if (load.in_flight > 0 || load.loading > 0) wanted = std::max(wanted, 1.0);
  if (wanted < there) {
    // Few enough to be filled by no more than options.fill_after_fall; otherwise as many as there are, as
    // long as they are needed at all.
    const double fewer = std::max(whole(demand.raw / options.fill_after_fall), wanted);
    demand.held = fewer > wanted && wanted > 0;
    wanted = std::min(fewer, there);
  } else if (wanted > there && load.loading > 0) {
    const double left = load.offered > 0 ? whole(std::max(load.offered / options.busy_full, forecast))
                                         : wanted - load.loading;
    const double enough = std::clamp(left, there, wanted);
    demand.credit = wanted - enough;
    wanted = enough;
  }
  demand.replicas = wanted;
  return demand;
}

}  // namespace sluice
