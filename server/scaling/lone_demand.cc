#include "server/scaling/lone_demand.h"

#include <algorithm>

namespace sluice {

void LoneDemand::answered(const Answer& answer, double now) {
  if (answer.computed_tokens >= kEnoughTokens && answer.prefill_seconds > 0)
    token_seconds_.observe(answer.prefill_seconds / answer.computed_tokens, now);
  if (answer.step_seconds <= 0) return;
  knee_.observe(std::max(answer.running, 1.0), answer.step_seconds);
  itl_.observe(answer.step_seconds, now);
}

Load LoneDemand::load(const Seen& seen, double now) {
  // What was learned holds while nobody asks.
  if (const double quick = token_seconds_.quantile(0.2, now); quick > 0) last_token_seconds_ = quick;
  double knee = knee_.requests(options_.slo_itl);
  if (seen.runs_at_once > 0) knee = std::min(knee, seen.runs_at_once);
  return {.in_flight = seen.running + seen.waiting,
          .queued = seen.waiting,
          .uncomputed = seen.waiting,
          .backlog_seconds = seen.waiting_tokens * last_token_seconds_,
          .kv_in_use = seen.kv_share,
          .knee = knee,
          .ttft_p90 = ttft_.quantile(0.9, now),
          .itl_p90 = itl_.quantile(0.9, now),
          .ready = 1};
}

}  // namespace sluice
