// The policies behind choose() (router/core/policy.h), one function each. Only policy.cc calls them.
#pragma once

#include <algorithm>
#include <span>

#include "base/hash.h"
#include "router/core/policy.h"

namespace sluice::router {

size_t choose_by_cost(const CostOptions& options, const PolicyView& view, std::span<CostTerms> terms);

size_t choose_in_turn(const PolicyView& view);
size_t choose_at_random(const PolicyView& view);
size_t choose_least_load(const PolicyView& view, std::span<CostTerms> terms);
size_t choose_of_two(const PolicyView& view);
size_t choose_on_ring(double load_factor, const PolicyView& view);
size_t choose_by_session(const PolicyView& view);
size_t choose_cache_aware(const CacheAwareOptions& options, const PolicyView& view);
size_t choose_sticky(const StickyOptions& options, const PolicyView& view, std::span<CostTerms> terms);
size_t choose_lmetric(bool queued, const PolicyView& view, std::span<CostTerms> terms);
size_t choose_dynamo(const PolicyView& view, std::span<CostTerms> terms);
size_t choose_prefix_aware(const PolicyView& view);

// The candidate of the least cost(candidate, index); among equals each is as likely.
template <class Cost>
size_t least(const PolicyView& view, std::span<CostTerms> terms, Cost&& cost) {
  size_t best = 0;
  double best_cost = 0;
  uint64_t equals = 0;
  uint64_t random = view.random;
  for (size_t i = 0; i < view.candidates.size(); ++i) {
    const double value = cost(view.candidates[i], i);
    if (!terms.empty()) terms[i].total = value;
    if (equals == 0 || value < best_cost) {
      best = i;
      best_cost = value;
      equals = 1;
    } else if (value == best_cost) {
      random = hash_combine(random, i);
      if (random % ++equals == 0) best = i;
    }
  }
  return best;
}

// Requests in flight, as a share of what the replica should get.
inline double load_of(const Candidate& c) {
  return c.running / (c.weight * c.ramp);
}
inline uint32_t uncached_of(const Candidate& c, const PolicyRequest& request) {
  return request.prompt_tokens - std::min(c.cached_tokens, request.prompt_tokens);
}

}  // namespace sluice::router
