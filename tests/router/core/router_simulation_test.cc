// Random histories through the whole core: requests of many kinds, replicas that come, go, fail, lie and lose
// events, clients that leave. After every step the invariants hold; at the end each request has ended once
// and nothing is charged. A failure prints its seed; SLUICE_SEED=n runs that one alone, SLUICE_SEEDS=n so
// many.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "router/core/router_core.h"

namespace sluice::router {
namespace {

using Random = std::mt19937_64;

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), options_(options(random_)), core_(options_) {
    bytes_ = core_.index_stats().bytes;
  }

  void run() {
    for (int step = 0; step < 1500; ++step) {
      now_ += static_cast<double>(random_() % 100) / 1000;
      if (chance(2)) now_ += 20;
      act(step);
      core_.advance(now_);
      take();
      check();
      if (::testing::Test::HasFatalFailure()) return;
    }
    // Everything comes to its end: deadlines for what waits, breaks for what runs.
    for (auto [key, replica] : std::map(tries_)) core_.broke(key.first, key.second, now_);
    take();
    for (int i = 0; i < 300 && core_.live() > 0; ++i) {
      now_ += 1;
      core_.advance(now_);
      take();
      for (auto [key, replica] : std::map(tries_)) core_.broke(key.first, key.second, now_);
      take();
    }
    ASSERT_EQ(core_.live(), 0U);
    ASSERT_EQ(core_.queued(), 0U);
    ASSERT_EQ(core_.queued_tokens(), 0U);
    ASSERT_TRUE(alive_.empty());
    ASSERT_TRUE(tries_.empty());
    for (const auto& replica : core_.fleet().replicas()) {
      ASSERT_NE(replica->state, ReplicaState::kGone);
      ASSERT_EQ(replica->in_flight, 0U);
      ASSERT_EQ(replica->prefilling, 0U);
      ASSERT_EQ(replica->context_tokens, 0U);
      ASSERT_EQ(replica->fresh_tokens, 0U);
    }
    const RouterStats& s = core_.stats();
    ASSERT_EQ(s.arrived, s.finished + s.rejected_full + s.rejected_deadline + s.rejected_upstream +
                             s.failed_midstream + s.client_left);
    ASSERT_EQ(s.arrived, last_id_);
  }

 private:
  static RouterCoreOptions options(Random& random) {
    RouterCoreOptions options;
    options.index = {.budget_bytes = (1 + random() % 8) << 16, .secret = random()};
    options.dictionary_bytes = 1 << 16;
    options.queue = {.max_requests = 1 + random() % 50,
                     .max_tokens = 1 + random() % 500'000,
                     .tenant_share = random() % 2 == 0 ? 1 : 0.5};
    options.policy.name = static_cast<PolicyName>(random() % kPolicyCount);
    if (random() % 2 == 0)
      options.shadow = PolicyOptions{.name = static_cast<PolicyName>(random() % kPolicyCount)};
    options.hedge_budget = {.ratio = 1, .per_second = 1, .cap = 100};
    options.max_replica_wait = random() % 2 == 0 ? 30 : 0.5;
    options.max_in_flight = 20 + random() % 100;
    options.max_attempts = static_cast<int>(1 + random() % 4);
    options.approximate_ttl = 5;
    options.fleet.max_replicas = 6;
    options.seed = random();
    return options;
  }
  bool chance(uint64_t percent) { return random_() % 100 < percent; }

  void arrive() {
    RequestSketch sketch{.id = ++last_id_, .model = chance(90) ? "m" : "n" + std::to_string(random_() % 3)};
    sketch.tenant = std::to_string(random_() % 3);
    sketch.priority = static_cast<int>(random_() % 2);
    const bool text = chance(50);
    sketch.prompt.kind = text ? PromptChain::Kind::kText : PromptChain::Kind::kBlocks;
    sketch.prompt.unit = text ? kChunkBytes : 16;
    uint64_t hash = text ? 1 : 2;
    const size_t pieces = random_() % 60;
    for (size_t i = 0; i < pieces; ++i) {
      if (chance(3)) hash = hash_combine(hash, random_() % 3);
      sketch.prompt.hashes.push_back(hash = hash_combine(hash, i));
    }
    sketch.prompt.size = pieces * sketch.prompt.unit + random_() % 100;
    sketch.session_key = random_() % 5;
    sketch.retryable = chance(90);
    sketch.hedgeable = chance(50);
    sketch.resumable = chance(50);
    sketch.explain = chance(10);
    if (chance(20)) sketch.deadline = now_ + static_cast<double>(random_() % 30) - 1;
    alive_.insert(sketch.id);
    core_.arrive(std::move(sketch), now_);
  }

  void replica_event() {
    if (replicas_.size() < 8 && chance(40)) {
      const ReplicaId id = core_.add_replica(
          {.name = "r" + std::to_string(random_() % 8),
           .models = chance(80) ? std::vector<std::string>{} : std::vector<std::string>{"m"},
           .weight = static_cast<double>(random_() % 4),
           .streams_events = chance(60),
           .kv_tokens = random_() % 50'000,
           .max_running = static_cast<int>(random_() % 20)},
          now_);
      if (id != kNoReplica) replicas_.push_back(id);
      return;
    }
    if (replicas_.empty()) return;
    const size_t at = random_() % replicas_.size();
    const ReplicaId id = replicas_[at];
    switch (random_() % 10) {
      case 0:
        core_.remove_replica(id, now_);
        break;
      case 1:
        if (chance(30)) core_.drain_replica(id, now_);
        break;
      case 2:
        core_.health_checked(id, false, now_);
        break;
      case 3:
        core_.kv_stream_broke(id, now_);
        break;
      case 4:
        core_.set_weight(id, static_cast<double>(random_() % 5));
        break;
      default:
        core_.health_checked(id, true, now_);
    }
  }

  // Half sensible, half noise.
  void kv_event() {
    if (replicas_.empty()) return;
    const ReplicaId id = replicas_[random_() % replicas_.size()];
    KvEvent event{.kind = static_cast<KvEvent::Kind>(random_() % 10),
                  .epoch = 1,
                  .sequence = chance(90) ? ++sequences_[id] : random_(),
                  .hash = random_() % 500,
                  .parent = random_() % 500,
                  .request = last_id_ == 0 ? 0 : 1 + random_() % last_id_,
                  .prompt_tokens = static_cast<uint32_t>(chance(90) ? random_() % 2000 : random_()),
                  .cached_tokens = static_cast<uint32_t>(chance(90) ? random_() % 2000 : random_()),
                  .running = static_cast<uint32_t>(random_() % 30),
                  .waiting = static_cast<uint32_t>(chance(95) ? random_() % 3 : random_()),
                  .prefill_tokens = random_() % 10'000,
                  .kv_usage = static_cast<double>(random_() % 200) / 100};
    if (event.kind == KvEvent::Kind::kSnapshotBegin) sequences_[id] = event.sequence;
    core_.kv_event(id, event, now_);
  }

  void upstream() {
    if (tries_.empty()) return;
    auto at = tries_.begin();
    std::advance(at, static_cast<int64_t>(random_() % tries_.size()));
    const auto [id, attempt] = at->first;
    static constexpr int kStatus[] = {200, 200, 200, 200, 400, 404, 408, 429, 500, 503};
    switch (random_() % 6) {
      case 0:
        core_.answered(id, attempt, kStatus[random_() % 10], static_cast<double>(random_() % 3), now_);
        break;
      case 1:
      case 2:
        core_.first_byte(id, attempt, now_);
        break;
      case 3:
      case 4: {
        core_.ended(id, attempt, static_cast<uint32_t>(random_() % 100), now_);
        // The relayed attempt's end is the request's.
        if (ended_by_us(id, attempt)) finish(id);
        break;
      }
      default:
        tries_.erase(at);
        core_.broke(id, attempt, now_);
    }
  }
  // ended() always ends a request: an attempt that is known is, or becomes, the client's.
  bool ended_by_us(RequestId id, Attempt) const { return alive_.contains(id); }

  void finish(RequestId id) {
    ASSERT_EQ(alive_.erase(id), 1U) << "request " << id << " ended twice";
    gone_.insert(id);
  }

  void act(int step) {
    for (int i = 0; i < 3; ++i) {
      const uint64_t what = random_() % 100;
      if (what < 30 && step < 1400) {
        arrive();
      } else if (what < 60) {
        upstream();
      } else if (what < 80) {
        kv_event();
      } else if (what < 92) {
        replica_event();
      } else if (!alive_.empty() && what < 95) {
        const RequestId id = *alive_.begin();
        core_.client_left(id, now_);
        finish(id);
      }
      take();
    }
  }

  void take() {
    core_.take_actions(actions_);
    for (const Action& action : actions_) {
      const auto key = std::pair(action.request, action.attempt);
      switch (action.kind) {
        case Action::Kind::kDispatch:
          ASSERT_TRUE(alive_.contains(action.request)) << action.request;
          ASSERT_LE(action.attempt, static_cast<Attempt>(options_.max_attempts));
          ASSERT_TRUE(tries_.emplace(key, action.replica).second);
          break;
        case Action::Kind::kCancel:
          // An attempt that broke is not cancelled; every other end of one is told.
          ASSERT_EQ(tries_.erase(key), 1U) << action.request << " attempt " << action.attempt;
          break;
        case Action::Kind::kRelay:
          ASSERT_TRUE(relayed_.insert(key).second) << "relayed twice";
          break;
        case Action::Kind::kReject:
          ASSERT_GE(action.status, 400);
          ASSERT_FALSE(action.message.empty());
          [[fallthrough]];
        case Action::Kind::kFail:
          finish(action.request);
          break;
        case Action::Kind::kHold:
        case Action::Kind::kSnapshot:
          break;
      }
    }
    // An attempt whose request has ended is over.
    std::erase_if(tries_, [&](const auto& entry) { return gone_.contains(entry.first.first); });
  }

  void check() {
    ASSERT_EQ(core_.live(), alive_.size());
    ASSERT_LE(core_.live(), options_.max_in_flight + 1);
    ASSERT_EQ(core_.index_stats().bytes, bytes_);
    ASSERT_LE(core_.index_stats().blocks, core_.index_stats().capacity_blocks);
    uint64_t charged = 0;
    for (const auto& replica : core_.fleet().replicas()) {
      charged += replica->in_flight;
      ASSERT_GE(replica->wait_seconds(now_), 0);
      ASSERT_GE(replica->prefill_work.tokens, 0);
    }
    ASSERT_EQ(charged, tries_.size()) << "charges are the attempts in flight";
    ASSERT_GE(core_.next_wakeup(), now_) << "what is due has been done";
  }

  Random random_;
  const RouterCoreOptions options_;
  RouterCore core_;
  uint64_t bytes_ = 0;
  Seconds now_ = 0;
  RequestId last_id_ = 0;
  std::set<RequestId> alive_, gone_;
  std::map<std::pair<RequestId, Attempt>, ReplicaId> tries_;
  std::set<std::pair<RequestId, Attempt>> relayed_;
  std::vector<ReplicaId> replicas_;
  std::map<ReplicaId, uint64_t> sequences_;
  std::vector<Action> actions_;
};

TEST(RouterSimulation, every_request_ends_once_and_no_charge_leaks) {
  uint64_t first = 1, count = 60;
  if (const char* seed = std::getenv("SLUICE_SEED")) first = std::strtoull(seed, nullptr, 10), count = 1;
  if (const char* seeds = std::getenv("SLUICE_SEEDS")) count = std::strtoull(seeds, nullptr, 10);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
    World world(seed);
    world.run();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace sluice::router
