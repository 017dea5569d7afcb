// What the replay of autoscaling sends: a trace, or requests whose rate changes with the time of day as a
// shape says; and how many replicas that work needs at each moment, seen by somebody who knows the future.
// Deterministic from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/router_sim_replica.h"
#include "bench/router_sim_workload.h"

namespace sluice::autoscale {

using router::Seconds;
using router_sim::ReplicaModel;
using router_sim::Workload;

// Requests a second over the time: Poisson arrivals of questions behind one of a few system prompts.
struct Shape {
  enum class Kind : uint8_t {
    kStep,     // low, in the middle three fifths high, low
    kDiurnal,  // a sine with its trough at the beginning of each period, from low to high
    kBursts,   // low, and bursts of `burst` seconds at high, one in each period at a moment of chance
  };
  Kind kind = Kind::kStep;
  double low = 0.5;  // requests a second
  double high = 6;
  Seconds duration = 3600;
  Seconds period = 86'400;
  Seconds burst = 90;
  int groups = 20;
  uint32_t system_tokens = 1024;
  uint32_t question_tokens = 1500;  // mean
  uint32_t output_tokens = 200;     // mean
};
double rate_at(const Shape& shape, Seconds at, uint64_t seed);
Workload make_workload(const Shape& shape, uint64_t seed);

// For each second: the replicas whose time would be filled to `busy` by the work that arrives within half a
// minute before and after. Prompts cost what a cache of endless size does not hold; tokens of answers what
// they cost at the concurrency where four fifths of a replica's greatest rate are reached.
std::vector<int> needed_replicas(const Workload& workload, const ReplicaModel& model, double busy = 0.8);

}  // namespace sluice::autoscale
