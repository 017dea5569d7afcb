// Which replica a request goes to: pure functions of a state. The state is a list of candidates with
// everything known of each (no clock, no index, no fleet in here), so the same function decides in the
// router, scores as a shadow without acting, and runs in the simulator. Any thread.
//
// Formulas, defaults and where they come from stand with each policy: cost_policy.cc (ours) and
// field_policies.cc (the field's, so that they can be compared on one's own traffic). docs/routing.md tells
// when to take which.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "router/core/hash_ring.h"
#include "router/core/rate_learner.h"
#include "router/core/units.h"

namespace sluice::router {

enum class PolicyName : uint8_t {
  kCost,  // ours: seconds until the first token, and what the work costs everyone else
  kRoundRobin,
  kRandom,
  kLeastLoad,       // fewest requests in flight
  kPowerOfTwo,      // the less loaded of two at random
  kConsistentHash,  // of the prompt's first chunk, bounded load (CHWBL 1.25, 256 points each)
  kSession,         // rendezvous hash of the session key
  kCacheAware,      // SGLang
  kSticky,          // llm-d: sticky until saturated
  kLmetric,         // new prefill tokens x batch size
  kDynamo,          // Dynamo: blocks to prefill + blocks in use
  kPrefixAware,     // production-stack: longest prefix, no load
};
inline constexpr int kPolicyCount = 12;
// The spelling of --policy. parse_policy: nullopt for what is none.
const char* name_of(PolicyName policy);
std::optional<PolicyName> parse_policy(std::string_view name);

// One replica that may take the request.
struct Candidate {
  ReplicaId replica = kNoReplica;
  uint32_t member = 0;         // which member of view.ring it is; candidates come in this order
  uint64_t name_hash = 0;      // the same in every router
  double weight = 1;           // of the replica against its fellows
  double ramp = 1;             // slow start: 0 < ramp <= 1
  uint32_t cached_tokens = 0;  // of this prompt
  uint32_t running = 0;        // requests in flight there
  uint32_t max_running = 256;
  uint64_t prefill_tokens = 0;  // queued and uncached
  uint64_t context_tokens = 0;  // prompts of what is in flight there
  double evict_reuse = 0;       // chance that what gives its place to this prompt would be used again
  Seconds wait_seconds = 0;     // until it would begin with this prompt
  PrefillRate rate;
  Seconds decode_step_seconds = 0;  // between two tokens of an answer now
  double kv_usage = 0;              // 0..1
};

struct PolicyRequest {
  uint32_t prompt_tokens = 0;
  uint64_t prefix_key = 0;   // hash of the first chunk
  uint64_t session_key = 0;  // 0: none
};

// What a policy may look at beside the candidates.
struct PolicyView {
  std::span<const Candidate> candidates;
  const PolicyRequest& request;
  PrefillRate mean_rate;
  double waiting = 0;              // prompts queued or computed at a replica, mean over replicas and time
  const HashRing* ring = nullptr;  // over all replicas of the model
  uint64_t turn = 0;               // counts decisions
  uint64_t random = 0;             // fresh for each decision
};

struct CostOptions {
  // Price on work that is done twice, in seconds that others lose for each second of it:
  // min(recompute_max, recompute_floor + recompute_per_waiting * waiting).
  double recompute_floor = 1;
  double recompute_per_waiting = 2;
  double recompute_max = 20;
  double decode_weight = 1;  // of the decode step that the first token shares
  // Totals as near to the least as this share of the time for the whole prompt are equal: rates are learned
  // from noisy times, and whoever looks a little faster would get everything. Fewest requests in flight, then
  // chance.
  double tie_share = 0.02;
  double kv_weight = 0.2;  // of the time for the whole prompt, times (u-0.9)/(1-u) at KV usage u above 0.9
};
struct CacheAwareOptions {  // sgl-router's command line defaults
  double cache_threshold = 0.3;
  double balance_abs_threshold = 64;
  double balance_rel_threshold = 1.5;
};
struct StickyOptions {  // llm-d: prefix-cache-affinity-filter and token-load-scorer
  double affinity_threshold = 0.8;
  double max_ttft_penalty_seconds = 18;
  double peak_prefill_tokens_per_second = 15'928;
};
struct PolicyOptions {
  PolicyName name = PolicyName::kCost;
  CostOptions cost;
  CacheAwareOptions cache_aware;
  StickyOptions sticky;
  double chwbl_load_factor = 1.25;  // KubeAI's, as its 256 points for each replica
  bool lmetric_queued = true;       // false: count the request's own new tokens alone
};

// Why: one row for each candidate, in seconds for kCost; other policies fill `total` in their own unit.
struct CostTerms {
  double wait = 0;       // until the replica begins
  double compute = 0;    // the uncached part, at its rate
  double recompute = 0;  // price for work that the fleet did before
  double decode = 0;
  double kv = 0;
  double total = 0;  // lowest wins
};

// Index into view.candidates. `terms` is empty or has one row for each candidate. There is at least one
// candidate. Equal totals are drawn by view.random.
size_t choose(const PolicyOptions& options, const PolicyView& view, std::span<CostTerms> terms);

// The house policy's estimate of seconds to the first token on each candidate, whatever policy acts: regret
// is the chosen one's against the least.
Seconds ttft_seconds(const Candidate& candidate, const PolicyRequest& request);

}  // namespace sluice::router
