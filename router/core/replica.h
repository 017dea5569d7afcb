// One replica as the router sees it: what it serves, whether it may be sent to, what is in flight there, how
// fast it is. Values; the fleet (router/core/fleet.h) owns them and their changes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "router/core/breaker.h"
#include "router/core/health.h"
#include "router/core/placed_horizon.h"
#include "router/core/prefix_index.h"
#include "router/core/rate_learner.h"
#include "router/core/units.h"

namespace sluice::router {

struct ReplicaSpec {
  std::string name;  // unique and stable over restarts: pod name or URL
  std::string url;
  std::vector<std::string> models;  // served names; empty: any
  double weight = 1;                // share of the traffic against its fellows, > 0
  bool streams_events = false;      // one of ours: knowledge can be exact
  uint32_t block_tokens = 16;
  uint64_t kv_tokens = 500'000;  // size of its KV cache; assumed for replicas of another make
  int max_running = 256;
  int runs_at_once = 0;  // as it says itself: what is more waits there; 0: it does not say
};

enum class ReplicaState : uint8_t {
  kStarting,  // no health check has passed yet
  kReady,
  kDraining,   // finishes what it has, gets nothing new
  kUnhealthy,  // checks fail
  kGone,       // left the fleet; stands here until its last request has ended
};
const char* name_of(ReplicaState state);

enum class Knowledge : uint8_t {
  kExact,        // its events arrive without a gap
  kRepairing,    // a gap or a restart: a snapshot is on its way; the old knowledge counts as long as it is
                 // there
  kApproximate,  // it tells nothing: what we sent there is all we know
};
const char* name_of(Knowledge knowledge);

// A replica's own word on its load; `at` is when it was true.
struct LoadReport {
  Seconds at = -kNever;
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint64_t prefill_tokens = 0;  // uncached tokens of prompts not yet computed
  double kv_usage = 0;          // share of KV blocks that running requests hold, 0..1
};

struct Replica {
  ReplicaId id = kNoReplica;
  ReplicaSpec spec;
  ReplicaState state = ReplicaState::kStarting;
  Knowledge knowledge = Knowledge::kApproximate;
  HolderId holder = kNoHolder;
  Health health;
  Breaker breaker;
  RateLearner rate;
  Seconds ready_since = kNever;
  LoadReport load;

  // In flight from this router, charged before dispatch and released on every exit.
  uint32_t in_flight = 0;
  uint32_t prefilling = 0;      // of these, prompts whose first token has not come
  PrefillWork prefill_work;     // of the prefilling ones, uncached part
  uint64_t context_tokens = 0;  // prompts of all in flight
  uint64_t fresh_tokens = 0;    // of these, what was not cached when they came
  Seconds head_since = 0;       // when it began with the prompt that it prefills now
  PrefillWork window_work;      // completed since the last observation of its rate
  Seconds window_seconds = 0;   // that it took
  Seconds observed_at = -kNever;

  // What other routers and direct clients have there, from its reports.
  uint64_t foreign_prefill_tokens = 0;
  uint32_t foreign_running = 0;
  uint64_t last_excess_tokens = 0;  // of the last report over what is ours
  uint32_t last_excess_running = 0;

  PlacedHorizon placed;  // what an APPROXIMATE one has forgotten again

  uint64_t requests = 0;
  uint64_t faults = 0;

  // Seconds until it would begin with a prompt that came now.
  Seconds wait_seconds(const PrefillRate& speed, Seconds now) const;
  Seconds wait_seconds(Seconds now) const { return wait_seconds(rate.prefill(), now); }
  // A prompt of `work` was completed `elapsed` after its turn came.
  void observe_prefilled(const PrefillWork& work, Seconds elapsed, Seconds now);
  double kv_usage() const;
};

bool serves(const Replica& replica, const std::string& model);

// Its rate as far as we may believe it: what was seen seldom or long ago is drawn to the fleet's mean. Else a
// replica that looked slow once would get nothing, and so never look better.
PrefillRate believed_rate(const Replica& replica, const PrefillRate& mean, Seconds now);

}  // namespace sluice::router
