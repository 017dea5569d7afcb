// The field's policies by their names and with their defaults, as the projects' own sources and papers give
// them. Where they look at loads scraped from time to time, these see the router's own counts: the formulas
// are compared, not the staleness.
#include <cmath>

#include "router/core/policies.h"

namespace sluice::router {

// Every proxy's default. Counts decisions, not what a candidate got: members that come and go shift the turn.
size_t choose_in_turn(const PolicyView& view) {
  return view.turn % view.candidates.size();
}

size_t choose_at_random(const PolicyView& view) {
  return hash_combine(view.random, 1) % view.candidates.size();
}

// Fewest requests in flight (sgl-router least_load by count, KubeAI LeastLoad).
size_t choose_least_load(const PolicyView& view, std::span<CostTerms> terms) {
  return least(view, terms, [](const Candidate& c, size_t) { return load_of(c); });
}

// Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
size_t choose_of_two(const PolicyView& view) {
  const size_t count = view.candidates.size();
  if (count == 1) return 0;
  const size_t first = hash_combine(view.random, 1) % count;
  size_t second = hash_combine(view.random, 2) % (count - 1);
  if (second >= first) ++second;
  return load_of(view.candidates[second]) < load_of(view.candidates[first]) ? second : first;
}

// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016; KubeAI's PrefixHash): from the
// prompt's first chunk along the ring to the first whose load is at most ceil(factor * (total + 1) / n).
size_t choose_on_ring(double load_factor, const PolicyView& view) {
  uint64_t total = 0;
  for (const Candidate& c : view.candidates) total += c.running;
  const double mean = static_cast<double>(total + 1) / static_cast<double>(view.candidates.size());
  const double bound = std::ceil(load_factor * mean);
  size_t found = view.candidates.size();
  if (view.ring != nullptr) {
    view.ring->walk(view.request.prefix_key, [&](uint32_t member) {
      const auto at = std::ranges::lower_bound(view.candidates, member, {}, &Candidate::member);
      if (at == view.candidates.end() || at->member != member || at->running + 1 > bound) return false;
      found = static_cast<size_t>(at - view.candidates.begin());
      return true;
    });
  }
  return found < view.candidates.size() ? found : choose_least_load(view, {});
}

// Weighted rendezvous hashing (Thaler and Ravishankar 1998): the session's own order of replicas, whose first
// living one it is. Without a key: least load, as production-stack's session routing.
size_t choose_by_session(const PolicyView& view) {
  if (view.request.session_key == 0) return choose_least_load(view, {});
  return least(view, {}, [&](const Candidate& c, size_t) {
    const uint64_t hash = hash_combine(view.request.session_key, c.name_hash);
    const double unit = (static_cast<double>(hash >> 11) + 0.5) / 9007199254740992.0;
    return -std::log(unit) / c.weight;
  });
}

// SGLang's cache_aware (sgl-router): when loads are out of balance, the least load and no affinity at all;
// else the longest match if it is more than cache_threshold of the prompt; else the least load.
size_t choose_cache_aware(const CacheAwareOptions& options, const PolicyView& view) {
  const auto [low, high] = std::ranges::minmax(view.candidates, {}, &Candidate::running);
  const double least_running = low.running, most_running = high.running;
  const bool unbalanced = most_running - least_running > options.balance_abs_threshold &&
                          most_running > options.balance_rel_threshold * least_running;
  const uint32_t longest = std::ranges::max(view.candidates, {}, &Candidate::cached_tokens).cached_tokens;
  if (unbalanced || longest <= options.cache_threshold * view.request.prompt_tokens) {
    return choose_least_load(view, {});
  }
  return least(view, {}, [&](const Candidate& c, size_t) {
    return c.cached_tokens == longest ? static_cast<double>(c.running) : 1e18;
  });
}

// llm-d's "sticky until saturated" (prefix-cache-affinity-filter, then token-load-scorer): only replicas that
// hold at least affinity_threshold of the prompt, unless the best of them would answer
// max_ttft_penalty_seconds later than the best of the others; of those left, the fewest tokens to prefill,
// this prompt's among them.
size_t choose_sticky(const StickyOptions& options, const PolicyView& view, std::span<CostTerms> terms) {
  const auto tokens = [&](const Candidate& c) {
    return static_cast<double>(c.prefill_tokens) + uncached_of(c, view.request);
  };
  const auto warm = [&](const Candidate& c) {
    return c.cached_tokens >= options.affinity_threshold * view.request.prompt_tokens;
  };
  double best_warm = 1e18, best_cold = 1e18;
  for (const Candidate& c : view.candidates) {
    double& best = warm(c) ? best_warm : best_cold;
    best = std::min(best, tokens(c) / options.peak_prefill_tokens_per_second);
  }
  const bool only_warm = best_warm < 1e18 && best_warm - best_cold <= options.max_ttft_penalty_seconds;
  return least(view, terms,
               [&](const Candidate& c, size_t) { return only_warm && !warm(c) ? 1e18 : tokens(c); });
}

// LMetric (arXiv 2603.15202): tokens to prefill there, the queued ones included, times the batch.
size_t choose_lmetric(bool queued, const PolicyView& view, std::span<CostTerms> terms) {
  return least(view, terms, [&](const Candidate& c, size_t) {
    const double waiting = queued ? static_cast<double>(c.prefill_tokens) : 0;
    return (waiting + uncached_of(c, view.request)) * (c.running + 1.0);
  });
}

// Dynamo's KV router at temperature 0: blocks to prefill, with this prompt's less its overlap, + blocks in
// use; here in tokens, which changes no order.
size_t choose_dynamo(const PolicyView& view, std::span<CostTerms> terms) {
  return least(view, terms, [&](const Candidate& c, size_t) {
    return static_cast<double>(c.prefill_tokens) + uncached_of(c, view.request) +
           static_cast<double>(c.context_tokens) + view.request.prompt_tokens;
  });
}

// production-stack's prefixaware: one of those with the longest match, whatever its load.
size_t choose_prefix_aware(const PolicyView& view) {
  const uint32_t longest = std::ranges::max(view.candidates, {}, &Candidate::cached_tokens).cached_tokens;
  if (longest == 0) return choose_least_load(view, {});
  return least(view, {}, [&](const Candidate& c, size_t) { return c.cached_tokens == longest ? 0.0 : 1.0; });
}

}  // namespace sluice::router
