// The house policy: seconds, and nothing else to tune them against.
//
//   cost(w) = (wait_w + own_w) / share_w  +  mu * uncached_w / R_mean  +  step_w  +  kv * u/(1-u)
//
//   wait_w   until w has computed what is queued there (uncached tokens at w's own, learned rate)
//   own_w    w's time for the part of this prompt that it does not hold, its attention over the rest included
//   share_w  weight * slow-start ramp
//   mu       min(mu_max, mu_per_second * mean wait over the candidates): the price on work that another
//   replica
//            has done already. Idle fleet: nothing, so the soonest start wins. When all wait, each second of
//            work that is done twice delays everyone who comes behind, so it costs several.
//   R_mean   the fleet's mean rate: the price is the fleet's, not the candidate's
//   step_w   the decode step that the first token shares
//   u        KV usage: near 1 the replica preempts and evicts
//
// A hot prefix replicates by itself: when the wait at its holder exceeds the cost of computing it elsewhere,
// the elsewhere wins and holds it from then on.
#include "router/core/policies.h"

namespace sluice::router {

size_t choose_by_cost(const CostOptions& options, const PolicyView& view, std::span<CostTerms> terms) {
  Seconds wait = 0;
  for (const Candidate& c : view.candidates) wait += c.wait_seconds;
  const double mean_wait = wait / static_cast<double>(view.candidates.size());
  const double mu = std::min(options.mu_max, options.mu_per_second * mean_wait);

  return least(view, terms, [&](const Candidate& c, size_t i) {
    const uint32_t uncached = uncached_of(c, view.request);
    const double share = std::max(c.weight * c.ramp, 1e-3);
    CostTerms cost;
    cost.wait = c.wait_seconds / share;
    // Nobody starts before a running one ends: some 200 steps each, max_running of them side by side.
    if (c.running >= c.max_running) {
      cost.wait +=
          200 * c.decode_step_seconds * (c.running - c.max_running + 1) / std::max(c.max_running, 1U);
    }
    cost.compute = c.rate.seconds(PrefillWork::of(uncached, view.request.prompt_tokens - uncached)) / share;
    cost.recompute = mu * view.mean_rate.token_seconds * uncached;
    cost.decode = options.decode_weight * c.decode_step_seconds;
    const double usage = std::min(c.kv_usage, 0.99);
    cost.kv = options.kv_pressure_seconds * usage / (1 - usage);
    cost.total = cost.wait + cost.compute + cost.recompute + cost.decode + cost.kv;
    if (!terms.empty()) terms[i] = cost;
    return cost.total;
  });
}

}  // namespace sluice::router
