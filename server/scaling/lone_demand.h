// The demand signal of a server that stands alone: what its own queue, batch and KV cache ask for, in
// replicas like itself. Sum it over the replicas that a load is spread over (a Pods metric,
// sum(sluice_demand_raw)). It knows no other replica, so it neither holds nor gives credit for those that
// load: that is the router's part (server/scaling/demand.h has the terms). A value; times in seconds come in
// as arguments.
#pragma once

#include "server/scaling/concurrency_knee.h"
#include "server/scaling/demand.h"
#include "server/scaling/recent_quantile.h"

namespace sluice {

class LoneDemand {
 public:
  explicit LoneDemand(DemandOptions options = {}) : options_(options) {}

  // An answer ended: its prompt's uncached tokens took `prefill_seconds`, between two of its tokens passed
  // `step_seconds` while about `running` requests ran.
  struct Answer {
    double computed_tokens = 0, prefill_seconds = 0;
    double running = 0, step_seconds = 0;
  };
  void answered(const Answer& answer, double now);
  void first_token(double after, double now) { ttft_.observe(after, now); }

  struct Seen {
    double running = 0, waiting = 0;
    double waiting_tokens = 0;  // prompts of those
    double kv_share = 0;        // of the KV cache that running requests hold
    double runs_at_once = 0;    // --max-num-seqs
  };
  Load load(const Seen& seen, double now);
  Demand look(const Seen& seen, double now) { return demand_of(options_, load(seen, now)); }

 private:
  static constexpr double kEnoughTokens = 32;  // a shorter prompt tells of overhead
  DemandOptions options_;
  ConcurrencyKnee knee_;
  RecentQuantile ttft_, itl_;
  // Seconds of a token: of requests that were computed together each counts the other's time as well, so the
  // quickest tell what a token takes.
  RecentQuantile token_seconds_;
  double last_token_seconds_ = 0;
};

}  // namespace sluice
