#include "router/core/policy.h"

#include "base/check.h"
#include "router/core/policies.h"

namespace sluice::router {
namespace {

constexpr const char* kNames[kPolicyCount] = {
    "cost",    "round-robin", "random", "least-load", "power-of-two", "consistent-hash",
    "session", "cache_aware", "sticky", "lmetric",    "dynamo",       "prefixaware",
};

}  // namespace

const char* name_of(PolicyName policy) {
  return kNames[static_cast<size_t>(policy)];
}

std::optional<PolicyName> parse_policy(std::string_view name) {
  for (int i = 0; i < kPolicyCount; ++i) {
    if (name == kNames[i]) return static_cast<PolicyName>(i);
  }
  return std::nullopt;
}

Seconds ttft_seconds(const Candidate& c, const PolicyRequest& request) {
  const uint32_t cached = std::min(c.cached_tokens, request.prompt_tokens);
  return c.wait_seconds + c.rate.seconds(PrefillWork::of(request.prompt_tokens - cached, cached)) +
         c.decode_step_seconds;
}

size_t choose(const PolicyOptions& options, const PolicyView& view, std::span<CostTerms> terms) {
  SLUICE_CHECK(!view.candidates.empty());
  SLUICE_CHECK(terms.empty() || terms.size() == view.candidates.size());
  switch (options.name) {
    case PolicyName::kCost:
      return choose_by_cost(options.cost, view, terms);
    case PolicyName::kRoundRobin:
      return choose_in_turn(view);
    case PolicyName::kRandom:
      return choose_at_random(view);
    case PolicyName::kLeastLoad:
      return choose_least_load(view, terms);
    case PolicyName::kPowerOfTwo:
      return choose_of_two(view);
    case PolicyName::kConsistentHash:
      return choose_on_ring(options.chwbl_load_factor, view);
    case PolicyName::kSession:
      return choose_by_session(view);
    case PolicyName::kCacheAware:
      return choose_cache_aware(options.cache_aware, view);
    case PolicyName::kSticky:
      return choose_sticky(options.sticky, view, terms);
    case PolicyName::kLmetric:
      return choose_lmetric(options.lmetric_queued, view, terms);
    case PolicyName::kDynamo:
      return choose_dynamo(view, terms);
    case PolicyName::kPrefixAware:
      return choose_prefix_aware(view);
  }
  SLUICE_CHECK(false);
  return 0;
}

}  // namespace sluice::router
