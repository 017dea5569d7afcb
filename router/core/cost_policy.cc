// The house policy: seconds, and nothing else to tune them against.
//
//   cost(w) = (wait_w + own_w) / share_w  +  price * again_w / R_mean  +  step_w  +  kv_w
//
//   wait_w   until w has computed what is queued there (uncached tokens at w's rate as far as it is believed)
//   own_w    w's time for the part of this prompt that it does not hold, its attention over the rest included
//   share_w  weight * slow-start ramp
//   again_w  tokens that will have been computed twice for it: those that others hold and w does not, each
//   counted
//            1/holders (what one replica has is lost work to do again; what many have is hot, and one more
//            copy will be used by those to come); and those that its uncached part evicts at w, each counted
//            with the chance that it would be used yet after the time for which w's cache holds what nobody
//            uses (reuse_curve.h). Without this term fast replicas draw more prefixes than they have memory
//            for, and all of them recompute for ever.
//   price    floor + per_waiting * L, bounded. L is the mean number of prompts queued or computed at a
//   replica: in a
//            queue a second of extra work delays those who come while it is busy, on average L of them
//            (M/M/1: rho/(1-rho)); the floor is the work itself. Being a count, L fits long prompts and short
//            ones alike; a price on the mean wait in seconds fits only one of them.
//   R_mean   the fleet's mean rate: the price is the fleet's, not the candidate's
//   step_w   the decode step that the first token shares
//   kv_w     the whole prompt's time at R_mean * (u - 0.9)/(1 - u), at KV usage u above 0.9: it waits for
//   memory
//
// Totals within tie_share of the prompt's time are equal; then the fewest in flight, then chance.
//
// A hot prefix replicates by itself: when the wait at its holder exceeds the cost of computing it elsewhere,
// the elsewhere wins and holds it from then on.
#include <functional>

#include "router/core/policies.h"

namespace sluice::router {

namespace {

constexpr double kKvPlenty = 0.9;  // below that use nobody waits for memory

// Tokens of the prompt that others hold and a candidate with `cached` does not, each counted 1/holders: what
// one replica has is lost work to do again; what many have is hot, and one more copy will be used by those to
// come.
class Duplicates {
 public:
  explicit Duplicates(const PolicyView& view) {
    for (const Candidate& c : view.candidates) {
      if (c.cached_tokens > 0) cached_.push_back(c.cached_tokens);
    }
    std::ranges::sort(cached_, std::greater<>());
  }
  double of(uint32_t cached) const {
    double sum = 0;
    for (size_t holders = 1; holders <= cached_.size() && cached_[holders - 1] > cached; ++holders) {
      const uint32_t below = holders < cached_.size() ? std::max(cached_[holders], cached) : cached;
      sum += (cached_[holders - 1] - below) / static_cast<double>(holders);
    }
    return sum;
  }

 private:
  std::vector<uint32_t> cached_;
};

}  // namespace

size_t choose_by_cost(const CostOptions& options, const PolicyView& view, std::span<CostTerms> terms) {
  const double price =
      std::min(options.recompute_max, options.recompute_floor + options.recompute_per_waiting * view.waiting);

  const Duplicates duplicates(view);
  const auto cost_of = [&](const Candidate& c) {
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
    cost.recompute =
        price * view.mean_rate.token_seconds * (duplicates.of(c.cached_tokens) + c.evict_reuse * uncached);
    cost.decode = options.decode_weight * c.decode_step_seconds;
    const double usage = std::min(c.kv_usage, 0.99);
    cost.kv = options.kv_weight * view.mean_rate.token_seconds * view.request.prompt_tokens *
              std::max(usage - kKvPlenty, 0.0) / (1 - usage);
    cost.total = cost.wait + cost.compute + cost.recompute + cost.decode + cost.kv;
    return cost;
  };

  double soonest = cost_of(view.candidates.front()).total;
  for (const Candidate& c : view.candidates) soonest = std::min(soonest, cost_of(c).total);
  const double equal =
      soonest + options.tie_share * view.mean_rate.token_seconds * view.request.prompt_tokens;
  const size_t chosen = least(view, {}, [&](const Candidate& c, size_t i) {
    const CostTerms cost = cost_of(c);
    if (!terms.empty()) terms[i] = cost;
    return cost.total <= equal ? load_of(c) : 1e18;
  });
  return chosen;
}

}  // namespace sluice::router
