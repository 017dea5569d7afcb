// Replicas that come, go and tell.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "router/core/router_core_state.h"

namespace sluice::router {

ReplicaId RouterCore::add_replica(ReplicaSpec spec, Seconds now) {
  now_ = now;
  if (!(spec.weight > 0)) spec.weight = 1;
  spec.block_tokens = std::max(spec.block_tokens, 1U);
  spec.max_running = std::max(spec.max_running, 1);
  Replica* replica = fleet_.add(std::move(spec));
  if (replica == nullptr) return kNoReplica;
  const auto holder = index_.add_holder(0);
  if (!holder) {
    fleet_.remove(replica->id);
    return kNoReplica;
  }
  replica->holder = *holder;
  replica->placed = PlacedHorizon(replica->spec.kv_tokens);
  if (replica->spec.streams_events) {
    knowledge_[replica->id] = std::make_unique<KvKnowledge>(index_, *replica);
  }
  update_horizon(*replica, now);
  return replica->id;
}

void RouterCore::drain_replica(ReplicaId id, Seconds now) {
  now_ = now;
  Replica* replica = fleet_.find(id);
  if (replica != nullptr && replica->state != ReplicaState::kGone)
    set_state(*replica, ReplicaState::kDraining, now);
}

void RouterCore::restore_replica(ReplicaId id, Seconds now) {
  now_ = now;
  Replica* replica = fleet_.find(id);
  if (replica == nullptr || replica->state != ReplicaState::kDraining) return;
  set_state(*replica, replica->health.healthy() ? ReplicaState::kReady : ReplicaState::kUnhealthy, now);
}

void RouterCore::remove_replica(ReplicaId id, Seconds now) {
  now_ = now;
  Replica* replica = fleet_.find(id);
  if (replica == nullptr || replica->state == ReplicaState::kGone) return;
  knowledge_.erase(id);
  index_.retire(replica->holder);
  replica->holder = kNoHolder;
  fleet_.remove(id);
}

void RouterCore::set_weight(ReplicaId id, double weight) {
  if (Replica* replica = fleet_.find(id); replica != nullptr && weight > 0) replica->spec.weight = weight;
}

void RouterCore::set_state(Replica& replica, ReplicaState state, Seconds now) {
  if (replica.state == state) return;
  replica.state = state;
  if (state == ReplicaState::kReady) replica.ready_since = now;
  fleet_.changed();
  pump_all(now);
}

void RouterCore::health_checked(ReplicaId id, bool passed, Seconds now) {
  now_ = now;
  Replica* replica = fleet_.find(id);
  if (replica == nullptr) return;
  replica->health.checked(passed);
  replica->breaker.probed(passed, now);
  switch (replica->state) {
    case ReplicaState::kStarting:
    case ReplicaState::kUnhealthy:
      if (replica->health.healthy()) set_state(*replica, ReplicaState::kReady, now);
      break;
    case ReplicaState::kReady:
      if (!replica->health.healthy()) set_state(*replica, ReplicaState::kUnhealthy, now);
      break;
    case ReplicaState::kDraining:
    case ReplicaState::kGone:
      break;
  }
  if (passed) pump_all(now);
}

RouterCore::Try* RouterCore::find_try(RequestId id, ReplicaId replica, Request*& request) {
  request = find(id);
  if (request == nullptr) return nullptr;
  for (Try& attempt : request->tries) {
    if (attempt.replica == replica) return &attempt;
  }
  return nullptr;
}

void RouterCore::kv_event(ReplicaId id, const KvEvent& event, Seconds now) {
  now_ = now;
  const auto known = knowledge_.find(id);
  if (known == knowledge_.end()) return;
  Replica& replica = *fleet_.find(id);
  const uint64_t repairs = known->second->repairs();
  if (known->second->apply(event) == KvKnowledge::Verdict::kNeedsSnapshot) {
    ++stats_.gaps;
    actions_.push_back({.kind = Action::Kind::kSnapshot, .replica = id});
  }
  stats_.repairs += known->second->repairs() - repairs;
  // What is said of a request or of the load is true in whatever order it comes.
  Request* request = nullptr;
  switch (event.kind) {
    case KvEvent::Kind::kAdmitted: {
      Try* attempt = find_try(event.request, id, request);
      if (attempt == nullptr || attempt->admitted) return;
      constexpr uint32_t kMost = 16'000'000;
      attempt->admitted = true;
      attempt->prompt_tokens = std::min(event.prompt_tokens, kMost);
      attempt->last_block = event.hash;
      const uint32_t cached = std::min(event.cached_tokens, attempt->prompt_tokens);
      stats_.predicted_cached_tokens += attempt->predicted_cached;
      stats_.real_cached_tokens += cached;
      attempt->charge.correct(attempt->prompt_tokens, cached);
      break;
    }
    case KvEvent::Kind::kPrefilled:
      if (Try* attempt = find_try(event.request, id, request)) {
        prompt_computed(*request, *attempt, now);
        pump_all(now);
      }
      break;
    case KvEvent::Kind::kLoad:
      fleet_.report(replica, {.at = now,
                              .running = event.running,
                              .waiting = event.waiting,
                              .prefill_tokens = event.prefill_tokens,
                              .kv_usage = event.kv_usage});
      break;
    default:
      break;
  }
}

std::optional<KvPlace> RouterCore::kv_place(ReplicaId id) const {
  const auto known = knowledge_.find(id);
  return known == knowledge_.end() ? std::nullopt : known->second->place();
}

void RouterCore::kv_stream_broke(ReplicaId id, Seconds now) {
  now_ = now;
  if (const auto known = knowledge_.find(id); known != knowledge_.end()) known->second->disconnected();
}

void RouterCore::prompt_computed(Request& request, Try& attempt, Seconds now) {
  attempt.charge.prefilled(now);
  if (std::exchange(attempt.computed, true)) return;
  if (Replica* replica = fleet_.find(attempt.replica); replica != nullptr && attempt.admitted) {
    learn(request, attempt, *replica);
  }
}

void RouterCore::learn(const Request& request, const Try& attempt, const Replica& replica) {
  const PromptChain& prompt = request.sketch.prompt;
  if (prompt.kind != PromptChain::Kind::kText || prompt.size == 0 || attempt.prompt_tokens == 0) return;
  const double ratio = attempt.prompt_tokens / static_cast<double>(prompt.size);
  tokens_per_byte_ += 0.02 * (std::clamp(ratio, 0.01, 2.0) - tokens_per_byte_);
  // A continued answer's prompt is longer than the text that we hashed.
  if (prompt.hashes.empty() || request.resume || replica.knowledge != Knowledge::kExact) return;
  const uint32_t block_tokens = replica.spec.block_tokens;
  blocks_.resize(std::min<uint64_t>(attempt.prompt_tokens, replica.spec.kv_tokens) / block_tokens);
  if (blocks_.empty()) return;
  blocks_.back() = attempt.last_block;
  for (size_t i = blocks_.size() - 1; i > 0; --i) {
    const auto parent = index_.parent_of(blocks_[i]);
    if (!parent) return;  // not told yet, or forgotten: there will be another lesson
    blocks_[i - 1] = *parent;
  }
  dictionary_.learn({.chunks = prompt.hashes,
                     .bytes = prompt.size,
                     .prompt_tokens = attempt.prompt_tokens,
                     .block_tokens = block_tokens,
                     .blocks = blocks_});
}

void RouterCore::update_horizon(Replica& replica, Seconds now) {
  if (replica.holder == kNoHolder) return;
  // Placements are stamped with the moment until which they are believed; a full cache forgets sooner.
  Seconds horizon = now;
  if (replica.knowledge != Knowledge::kExact) {
    horizon = std::max(horizon, replica.placed.horizon() + options_.approximate_ttl);
  }
  index_.set_horizon(replica.holder, tick_of(horizon));
}

void RouterCore::update_horizons(Seconds now) {
  if (now < horizons_at_ + 0.25) return;
  horizons_at_ = now;
  for (const auto& replica : fleet_.replicas()) update_horizon(*replica, now);
}

}  // namespace sluice::router
