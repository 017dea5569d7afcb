// The router without sockets, clock and threads: events in as calls with the time, decisions out as actions.
// The same code routes in production, with Asio around it (router/io), and in the simulator, for days of
// virtual time. One thread.
//
// In this folder, from the ground up:
//   prompt_chain                    a prompt's prefixes by name
//   associative_table, prefix_index, text_dictionary, prefix_match
//                                   which replica holds which prefix, in a fixed number of bytes
//   rate_learner, breaker, budget, health, replica, fleet
//                                   what is known of each replica, and what is in flight there (Charge)
//   kv_event, knowledge             a replica's own word, applied in order, repaired after gaps
//   hash_ring, policy               pure functions: a state in, a choice and its reasons out
//   admission_queue                 who goes next
//   action, router_core             the state machine that ties them
//
// The life of a request. arrive() -> either kDispatch at once, or kHold and a place in the queue until a
// replica can take it (chosen only then), or kReject. Then for each attempt io tells, in this order and as
// far as it comes: answered(status), first_byte(), and exactly one of ended() or broke(). The core answers
// with kRelay when this attempt is the client's (a hedge may be slower; a 503 is tried elsewhere), with
// further kDispatch, or with kCancel. client_left() may come at any time. A request ends exactly once: with
// kReject, kFail, ended() of its relayed attempt, or client_left(); whatever is told of it later is ignored.
//
// After every call, take_actions() has what is to be done. advance(now) lets time pass; call it no later than
// next_wakeup().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "router/core/action.h"
#include "router/core/admission_queue.h"
#include "router/core/budget.h"
#include "router/core/fleet.h"
#include "router/core/knowledge.h"
#include "router/core/kv_event.h"
#include "router/core/model_load.h"
#include "router/core/policy.h"
#include "router/core/prefix_match.h"
#include "router/core/prompt_chain.h"
#include "router/core/reuse_curve.h"

namespace sluice::router {

struct RouterCoreOptions {
  FleetOptions fleet;
  PrefixIndexOptions index;  // its budget is the index's alone
  uint64_t dictionary_bytes = 64ULL << 20;
  QueueOptions queue;
  PolicyOptions policy;
  std::optional<PolicyOptions> shadow;  // decides as well, acts never
  BudgetOptions retry_budget{.ratio = 0.2, .per_second = 1, .cap = 100};
  BudgetOptions hedge_budget{.ratio = 0.05, .per_second = 0, .cap = 20};
  int max_attempts = 3;           // of one request, hedges and continuations among them
  Seconds default_deadline = 60;  // until the first byte, for a request that names none
  Seconds min_hedge_delay = 1;
  double hedge_factor = 4;  // hedge when the first byte takes so many times the estimate; 0: never
  // A replica is full, and the queue holds what comes, when it runs max_running requests or when a prompt
  // would wait there longer than this.
  Seconds max_replica_wait = 30;
  size_t max_in_flight = 100'000;
  Seconds slow_start = 30;        // a new replica's share grows from a tenth to the whole
  Seconds prediction_ttl = 10;    // how long a placement is believed beyond its expected first token
  Seconds approximate_ttl = 600;  // the same on a replica that tells nothing
  Seconds waiting_memory = 30;    // over which the mean number of waiting prompts is taken
  double tokens_per_byte = 0.25;  // until learned
  uint64_t seed = 0;              // of tie-breaks and jitter
};

// A request as far as routing cares.
struct RequestSketch {
  RequestId id = 0;
  std::string model;
  std::string tenant;
  double tenant_weight = 1;
  int priority = 0;
  PromptChain prompt;
  uint64_t session_key = 0;    // 0: none
  uint32_t prompt_tokens = 0;  // 0: estimated from bytes
  uint32_t max_tokens = 0;     // of the answer; 0: not said
  Seconds deadline = kNever;   // until its first byte; absolute
  bool retryable = true;
  bool hedgeable = false;
  // The only one that can answer it, because it keeps what the request goes on from; ignored when it left.
  ReplicaId home = kNoReplica;
  bool resumable = false;  // greedy or seeded on a replica of ours: a broken stream can go on elsewhere
  bool explain = false;
};

// Why a request went where it went.
struct Decision {
  Seconds at = 0;
  ReplicaId chosen = kNoReplica;
  uint32_t prompt_tokens = 0;
  std::vector<Candidate> candidates;
  std::vector<CostTerms> terms;  // beside the candidates
};

struct RouterStats {
  uint64_t arrived = 0;
  // How requests ended; with those that live they add up to `arrived`.
  uint64_t finished = 0;
  uint64_t rejected_full = 0;
  uint64_t rejected_deadline = 0;
  uint64_t rejected_upstream = 0;  // no attempt came to an answer
  uint64_t failed_midstream = 0;
  uint64_t client_left = 0;

  uint64_t dispatches = 0;
  uint64_t retries = 0;
  uint64_t hedges = 0;
  uint64_t hedges_won = 0;
  uint64_t resumes = 0;
  uint64_t prompt_tokens = 0;            // of dispatched requests
  uint64_t predicted_cached_tokens = 0;  // of those that were told both ways
  uint64_t real_cached_tokens = 0;
  uint64_t decisions = 0;
  double regret_seconds = 0;  // sum of estimate(chosen) - least estimate
  uint64_t shadow_agreed = 0;
  double shadow_regret_seconds = 0;
  uint64_t gaps = 0;
  uint64_t repairs = 0;
};

class RouterCore {
 public:
  explicit RouterCore(const RouterCoreOptions& options);
  ~RouterCore();
  RouterCore(const RouterCore&) = delete;
  RouterCore& operator=(const RouterCore&) = delete;

  // --- replicas ---
  // kNoReplica when the fleet is full or the name is taken.
  ReplicaId add_replica(ReplicaSpec spec, Seconds now);
  // Gets nothing new; what is in flight goes on.
  void drain_replica(ReplicaId id, Seconds now);
  // Takes that back: it is as ready as its health checks say, and what is known of it still holds.
  void restore_replica(ReplicaId id, Seconds now);
  // It left discovery. What is in flight goes on until it ends or breaks.
  void remove_replica(ReplicaId id, Seconds now);
  void set_weight(ReplicaId id, double weight);
  void health_checked(ReplicaId id, bool passed, Seconds now);

  // When the next replica that is on its way will be there; kNever: none is, or nobody knows. Clients that
  // are sent away while none is ready are told.
  void expect_replica(Seconds at) { replica_expected_ = at; }

  // --- a replica's own word ---
  void kv_event(ReplicaId id, const KvEvent& event, Seconds now);
  // Where its new event stream may go on; none: it needs a snapshot.
  std::optional<KvPlace> kv_place(ReplicaId id) const;
  void kv_stream_broke(ReplicaId id, Seconds now);

  // --- requests ---
  void arrive(RequestSketch sketch, Seconds now);
  // The upstream's status line is here. `retry_after` in seconds, 0: none.
  void answered(RequestId id, Attempt attempt, int status, Seconds retry_after, Seconds now);
  void first_byte(RequestId id, Attempt attempt, Seconds now);
  // The upstream's response is complete. `output_tokens` if known, else 0.
  void ended(RequestId id, Attempt attempt, uint32_t output_tokens, Seconds now);
  // Refused, reset, timed out, malformed.
  void broke(RequestId id, Attempt attempt, Seconds now);
  void client_left(RequestId id, Seconds now);

  // --- time ---
  void advance(Seconds now);
  Seconds next_wakeup() const;

  // What is to be done, in order; the list is empty afterwards. Swapped, so that its room is used again.
  void take_actions(std::vector<Action>& actions);

  // --- looking in ---
  const RouterStats& stats() const { return stats_; }
  const Fleet& fleet() const { return fleet_; }
  PrefixIndexStats index_stats() const { return index_.stats(); }
  const TextDictionary& dictionary() const { return dictionary_; }
  size_t queued() const { return queued_; }
  uint64_t queued_tokens() const { return queued_tokens_; }
  size_t live() const { return requests_.size(); }
  double tokens_per_byte() const { return tokens_per_byte_; }
  ModelLoad load_of(const std::string& model, Seconds now) const;
  // Of a live request that asked for it.
  const Decision* explain(RequestId id) const;
  // What would be decided for this sketch now, without acting.
  Decision consider(const RequestSketch& sketch, Seconds now);

 private:
  // router/core/router_core_state.h
  struct Try;
  struct Request;
  struct Group;
  enum class Ending : uint8_t;

  // Deciding and sending: router_core_dispatch.cc.
  Group& group_of(const std::string& model);
  uint32_t prompt_tokens_of(const RequestSketch& sketch) const;
  double reuse_after(const Replica& replica, Seconds now) const;
  bool gather(const Request& request, Group& group, Seconds now);
  void observe_waiting(Group& group, Seconds now);
  size_t decide(Request& request, Group& group, Seconds now);
  void compare_policies(const PolicyView& view, size_t chosen);
  bool try_dispatch(Request& request, Seconds now);
  void dispatch(Request& request, Replica& replica, const Candidate& candidate, bool is_hedge, Seconds now);
  void hold(Request& request, bool at_front, Seconds now);
  void pump(Group& group, Seconds now);
  void pump_all(Seconds now);
  void hedge(Request& request, Seconds now);

  // The life of a request: router_core.cc.
  Request* find(RequestId id);
  void relay(Request& request, Try& attempt, Seconds now);
  void try_again(Request& request, bool resume, Seconds now);
  void end_try(Request& request, Attempt attempt, Outcome outcome, Seconds retry_after, bool cancel,
               Seconds now);
  void end_request(Request& request, Ending ending, Seconds now);
  void reject(Request& request, Ending ending, int status, std::string message, Seconds now);
  void set_timer(Request& request, Seconds at);
  Seconds retry_after();
  double random_unit();

  // Replicas and their word: router_core_replicas.cc.
  Try* find_try(RequestId id, ReplicaId replica, Request*& request);
  void prompt_computed(Request& request, Try& attempt, Seconds now);
  void learn(const Request& request, const Try& attempt, const Replica& replica);
  void update_horizon(Replica& replica, Seconds now);
  void update_horizons(Seconds now);
  void set_state(Replica& replica, ReplicaState state, Seconds now);

  const RouterCoreOptions options_;
  PrefixIndex index_;
  TextDictionary dictionary_;
  Fleet fleet_;
  Budget retry_budget_;
  Budget hedge_budget_;
  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;
  std::unordered_map<std::string, std::unique_ptr<Group>> groups_;
  std::unordered_map<ReplicaId, std::unique_ptr<KvKnowledge>> knowledge_;
  std::set<std::pair<Seconds, RequestId>> timers_;
  std::vector<Action> actions_;
  RouterStats stats_;
  size_t queued_ = 0;  // over all models
  uint64_t queued_tokens_ = 0;
  double tokens_per_byte_;
  uint64_t random_;
  uint64_t turn_ = 0;
  Seconds horizons_at_ = -kNever;
  Seconds now_ = 0;  // of the last call that had a time
  Seconds replica_expected_ = kNever;
  ReuseCurve reuse_;
  // Room for one decision.
  std::unique_ptr<PrefixMatch> match_;
  std::vector<Candidate> candidates_;
  std::vector<CostTerms> terms_;
  std::vector<uint64_t> blocks_;  // of one lesson
};

}  // namespace sluice::router
