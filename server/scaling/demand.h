// How many replicas a model's load asks for: a number without a unit, which a scaler takes as it is
// (AverageValue 1). Not bounded by how many there are, 0 where there is no load, and never absent. Pure.
//
//   raw = max( arrivals / 0.8,  in flight / C*,  backlog term,  KV use / 0.8,  SLO term )
//
//   arrivals         seconds of work, of one replica, that arrive in a second: prompts at the measured rate,
//                    answers at what a token costs at C*. It asks before a queue is there, and does not swing
//                    with one
//   in flight / C*   requests queued and running; C* as many as one replica should run at once (measured:
//                    ConcurrencyKnee), at most what it can
//   backlog          seconds that one replica would need to compute all prompts that are not computed yet (at
//                    its measured rate), against the time in which they should be: the TTFT target. One that
//                    is asked for now comes after a cold start L: so no more than have computed them, and
//                    what arrives, by then: arrivals + backlog / (target + L). Not more than there are such
//                    prompts: one prompt is not computed by two replicas
//   KV use           KV caches' worth of blocks that running requests hold, full at 0.8
//   SLO term         where a target is given: the replicas that are ready times the latency's 90th percentile
//                    over its target, between 1 and 2 times; so it asks for more only as fast as they come
//
// What the terms say is then held against what is there:
//   it falls to m replicas only when these would be filled to no more than 0.9 of what the terms call full
//   (so it does not come back at once)
//   while replicas load, what piles up is theirs to work off: it asks for more than there are and will
//   be only as far as the work that arrives needs them (`offered`, which a queue does not raise)
//
// Formulas of the terms: llm-d's token-aware and SLO-aware autoscaling, Dynamo's planner (the check before it
// falls); the unit, the arrivals and the max over them are ours; bench/results has what each is worth in a
// replay. docs/autoscaling.md tells when which of them binds.
#pragma once

#include <array>
#include <cstdint>

namespace sluice {

struct DemandOptions {
  double ttft_target = 2;  // seconds: the budget of the backlog
  // Targets of the SLO term for the 90th percentiles, in seconds; 0: none.
  double slo_ttft = 0;
  double slo_itl = 0;
  double kv_full = 0.8;
  double busy_full = 0.8;  // of its time a replica may be busy with what is offered
  // It falls to m replicas only when these would be filled to no more than this.
  double fill_after_fall = 0.9;
};

// What is so now, of one model.
struct Load {
  double in_flight = 0;              // requests queued and running
  double queued = 0;                 // of these, with no replica yet
  double uncomputed = 0;             // of these, whose prompt is not computed
  double backlog_seconds = 0;        // of one replica, for their prompts
  double kv_in_use = 0;              // KV caches' worth
  double offered = 0;                // seconds of work, of one replica, that arrive in a second; 0: not known
  double cold_start = 0;             // seconds a new replica takes to come; 0: none was seen
  double knee = 1e9;                 // C*: requests at once of one replica
  double ttft_p90 = 0, itl_p90 = 0;  // of the last minute; 0: not seen
  int ready = 0;
  // On their way and young enough to be believed: the time limit on credit is whoever counts them here.
  int loading = 0;

  Load& operator+=(const Load& other);  // of another router's share of the same replicas
};

enum class DemandTerm : uint8_t { kNone, kArrivals, kConcurrency, kBacklog, kKv, kSlo, kForecast };
inline constexpr int kDemandTerms = 7;
const char* name_of(DemandTerm term);

struct Demand {
  double replicas = 0;  // what a scaler reads: a whole number
  double raw = 0;       // the greatest term
  DemandTerm reason = DemandTerm::kNone;
  std::array<double, kDemandTerms> terms{};  // by DemandTerm, in replicas
  bool held = false;  // it would have fallen, but too few could not carry the load with room to spare
  double credit = 0;  // replicas it did not ask for again, because they are loading
};

// `forecast`: what the load to come asks for; it may only raise the answer. 0: none.
Demand demand_of(const DemandOptions& options, const Load& load, double forecast = 0);

}  // namespace sluice
