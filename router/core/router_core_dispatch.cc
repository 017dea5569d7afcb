// Which replica, and sending it there.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "router/core/router_core_state.h"

namespace sluice::router {
namespace {

constexpr int kRingPoints = 256;

}  // namespace

RouterCore::Group& RouterCore::group_of(const std::string& model) {
  std::unique_ptr<Group>& group = groups_[model];
  if (group == nullptr) group = std::make_unique<Group>(options_.queue);
  if (group->version == fleet_.version()) return *group;
  group->version = fleet_.version();
  group->members.clear();
  group->name_hashes.clear();
  std::vector<std::string_view> names;
  for (const auto& replica : fleet_.replicas()) {
    if (replica->state == ReplicaState::kGone || !serves(*replica, model)) continue;
    group->members.push_back(replica.get());
    const std::string& name = replica->spec.name;
    group->name_hashes.push_back(hash_bytes(name.data(), name.size()));
    names.push_back(name);
  }
  group->ring = HashRing(names, kRingPoints);
  return *group;
}

uint32_t RouterCore::prompt_tokens_of(const RequestSketch& sketch) const {
  constexpr double kMost = 16'000'000;
  double tokens = sketch.prompt_tokens;
  if (tokens == 0) {
    tokens = static_cast<double>(sketch.prompt.size);
    if (sketch.prompt.kind == PromptChain::Kind::kText) tokens *= tokens_per_byte_;
  }
  return static_cast<uint32_t>(std::clamp(tokens, 1.0, kMost));
}

// What is evicted there was not used for as long as the cache holds things; the chance that it will be yet.
double RouterCore::reuse_after(const Replica& replica, Seconds now) const {
  // Running requests hold a part of the memory, and the rest turns over the faster.
  const Seconds held_for = (now - replica.placed.horizon()) * (1 - replica.kv_usage());
  return reuse_.after(held_for);
}

// Fills candidates_ with who can take the request now, all but their cached tokens.
bool RouterCore::gather(const Request& request, Group& group, Seconds now) {
  const PrefillRate mean = fleet_.mean_rate();
  const ReplicaId home = request.sketch.home;
  const bool bound =
      std::ranges::any_of(group.members, [&](const Replica* replica) { return replica->id == home; });
  // Where it failed before it goes again only when nobody else is there.
  for (const bool again : {false, true}) {
    candidates_.clear();
    double most = 0;
    for (size_t member = 0; member < group.members.size(); ++member) {
      Replica& replica = *group.members[member];
      if (bound && replica.id != home) continue;
      if (replica.state != ReplicaState::kReady || !replica.breaker.allows(now)) continue;
      const bool failed = std::ranges::find(request.avoid, replica.id) != request.avoid.end();
      if (failed && !again) continue;
      const uint32_t running = replica.in_flight + replica.foreign_running;
      const PrefillRate rate = believed_rate(replica, mean, now);
      const Seconds wait = replica.wait_seconds(rate, now);
      if (running >= static_cast<uint32_t>(replica.spec.max_running) || wait > options_.max_replica_wait)
        continue;
      const double age = options_.slow_start > 0 ? (now - replica.ready_since) / options_.slow_start : 1;
      const double ramp = std::clamp(0.1 + 0.9 * age, 0.1, 1.0);
      candidates_.push_back({
          .replica = replica.id,
          .member = static_cast<uint32_t>(member),
          .name_hash = group.name_hashes[member],
          .weight = replica.spec.weight,
          .ramp = ramp,
          .running = running,
          .max_running = static_cast<uint32_t>(replica.spec.max_running),
          .prefill_tokens =
              replica.foreign_prefill_tokens + static_cast<uint64_t>(replica.prefill_work.tokens),
          .context_tokens = replica.context_tokens,
          .evict_reuse = reuse_after(replica, now),
          .wait_seconds = wait,
          .rate = rate,
          .decode_step_seconds = replica.rate.decode_step(),
          .kv_usage = replica.kv_usage(),
      });
      most = std::max(most, replica.spec.weight * ramp);
    }
    // Shares are relative: a fleet that is new as a whole is not slow.
    for (Candidate& candidate : candidates_) candidate.weight /= most;
    if (!candidates_.empty() || request.avoid.empty()) break;
  }
  return !candidates_.empty();
}

void RouterCore::observe_waiting(Group& group, Seconds now) {
  double prompts = 0, replicas = 0;
  for (const Replica* replica : group.members) {
    if (replica->state != ReplicaState::kReady) continue;
    prompts += replica->prefilling;
    ++replicas;
  }
  if (replicas == 0) return;
  const auto fade = [&](double& mean, Seconds memory) {
    const double keep = std::exp((group.waiting_at - now) / memory);
    mean = keep * mean + (1 - keep) * prompts / replicas;
  };
  fade(group.waiting_long, options_.waiting_memory);
  fade(group.waiting_short, options_.waiting_memory / 10);
  group.waiting_at = now;
}

size_t RouterCore::decide(Request& request, Group& group, Seconds now) {
  update_horizons(now);
  observe_waiting(group, now);
  match_prefix(request.sketch.prompt, tokens_per_byte_, index_, dictionary_, *match_);
  for (Candidate& candidate : candidates_) {
    const HolderId holder = group.members[candidate.member]->holder;
    candidate.cached_tokens = std::min(match_->tokens[holder], request.prompt_tokens - 1);
  }
  const auto& hashes = request.sketch.prompt.hashes;
  reuse_.used(hashes, now);
  const PolicyRequest policy_request{
      .prompt_tokens = request.prompt_tokens,
      .prefix_key = hashes.empty() ? hash_combine(random_, request.sketch.id) : hashes.front(),
      .session_key = request.sketch.session_key,
  };
  random_ = hash_combine(random_, ++turn_);
  const PolicyView view{.candidates = candidates_,
                        .request = policy_request,
                        .mean_rate = fleet_.mean_rate(),
                        .waiting = std::max(group.waiting_long, group.waiting_short),
                        .ring = &group.ring,
                        .turn = turn_,
                        .random = random_};
  terms_.assign(candidates_.size(), CostTerms{});
  const size_t chosen = choose(options_.policy, view, terms_);
  compare_policies(view, chosen);
  if (request.sketch.explain) {
    request.decision = std::make_unique<Decision>(Decision{.at = now,
                                                           .chosen = candidates_[chosen].replica,
                                                           .prompt_tokens = request.prompt_tokens,
                                                           .candidates = candidates_,
                                                           .terms = terms_});
  }
  return chosen;
}

void RouterCore::compare_policies(const PolicyView& view, size_t chosen) {
  Seconds soonest = kNever;
  for (const Candidate& candidate : candidates_) {
    soonest = std::min(soonest, ttft_seconds(candidate, view.request));
  }
  ++stats_.decisions;
  stats_.regret_seconds += ttft_seconds(candidates_[chosen], view.request) - soonest;
  if (!options_.shadow) return;
  const size_t shadow = choose(*options_.shadow, view, {});
  stats_.shadow_agreed += shadow == chosen ? 1 : 0;
  stats_.shadow_regret_seconds += ttft_seconds(candidates_[shadow], view.request) - soonest;
}

bool RouterCore::try_dispatch(Request& request, Seconds now) {
  Group& group = group_of(request.sketch.model);
  if (!gather(request, group, now)) return false;
  const size_t chosen = decide(request, group, now);
  dispatch(request, *group.members[candidates_[chosen].member], candidates_[chosen], false, now);
  return true;
}

void RouterCore::dispatch(Request& request, Replica& replica, const Candidate& candidate, bool is_hedge,
                          Seconds now) {
  const Seconds estimate = ttft_seconds(candidate, {.prompt_tokens = request.prompt_tokens});
  Try attempt;
  attempt.number = ++request.attempts;
  attempt.replica = replica.id;
  attempt.charge = fleet_.charge(replica, request.prompt_tokens, candidate.cached_tokens, now);
  attempt.sent = now;
  attempt.estimate = estimate;
  attempt.is_hedge = is_hedge;
  attempt.predicted_cached = candidate.cached_tokens;
  replica.breaker.started(now);
  ++replica.requests;
  replica.placed.placed(request.prompt_tokens - candidate.cached_tokens, now);
  // Its events will say what is true; until then, and for ever where there are none, we believe what we sent.
  const Seconds believed = now + (replica.knowledge == Knowledge::kExact ? estimate + options_.prediction_ttl
                                                                         : options_.approximate_ttl);
  place_prompt(request.sketch.prompt, replica.holder, tick_of(believed), index_, dictionary_);
  actions_.push_back({.kind = Action::Kind::kDispatch,
                      .request = request.sketch.id,
                      .attempt = attempt.number,
                      .replica = replica.id,
                      .resume = request.resume});
  request.tries.push_back(std::move(attempt));
  ++stats_.dispatches;
  stats_.prompt_tokens += request.prompt_tokens;
  if (request.attempts == 1) {
    const double uncached = request.prompt_tokens - candidate.cached_tokens;
    double& missing = group_of(request.sketch.model).missing;
    missing += 0.05 * (uncached / std::max(request.prompt_tokens, 1U) - missing);
  }
  request.hedge_at = kNever;
  if (!is_hedge && request.sketch.hedgeable && options_.hedge_factor > 0 && !request.streaming) {
    request.hedge_at = now + std::max(options_.min_hedge_delay, options_.hedge_factor * estimate);
  }
  set_timer(request, std::min(request.deadline, request.hedge_at));
}

void RouterCore::hold(Request& request, bool at_front, Seconds now) {
  Group& group = group_of(request.sketch.model);
  QueuedRequest queued{.id = request.sketch.id,
                       .tenant = request.sketch.tenant,
                       .tenant_weight = request.sketch.tenant_weight,
                       .priority = request.sketch.priority,
                       .tokens = request.prompt_tokens,
                       .enqueued = now,
                       .deadline = request.deadline};
  if (at_front) {
    group.queue.push_front(std::move(queued));
  } else {
    const bool room = queued_ < options_.queue.max_requests &&
                      queued_tokens_ + request.prompt_tokens <= options_.queue.max_tokens;
    const auto verdict = room ? group.queue.push(std::move(queued)) : AdmissionQueue::Verdict::kFull;
    if (verdict != AdmissionQueue::Verdict::kQueued) {
      return reject(request, Ending::kFull, 429,
                    verdict == AdmissionQueue::Verdict::kFull
                        ? "The router's queue is full; try again later."
                        : "This tenant has too many requests waiting; try again later.",
                    now);
    }
  }
  request.queued = true;
  ++queued_;
  queued_tokens_ += request.prompt_tokens;
  set_timer(request, request.deadline);
  if (std::exchange(request.told_hold, true)) return;
  actions_.push_back({.kind = Action::Kind::kHold, .request = request.sketch.id});
}

void RouterCore::pump(Group& group, Seconds now) {
  while (const QueuedRequest* next = group.queue.front()) {
    Request& request = *requests_.find(next->id)->second;
    if (!try_dispatch(request, now)) return;
    group.queue.pop_front();
    request.queued = false;
    --queued_;
    queued_tokens_ -= request.prompt_tokens;
  }
}

void RouterCore::pump_all(Seconds now) {
  if (queued_ == 0) return;
  for (auto& [model, group] : groups_) {
    if (!group->queue.empty()) pump(*group, now);
  }
}

void RouterCore::hedge(Request& request, Seconds now) {
  request.hedge_at = kNever;
  if (request.relayed != 0 || request.tries.size() != 1 ||
      request.attempts >= static_cast<Attempt>(options_.max_attempts)) {
    return;
  }
  Group& group = group_of(request.sketch.model);
  const ReplicaId first = request.tries.front().replica;
  if (!gather(request, group, now)) return;
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.replica == first; });
  if (candidates_.empty() || !hedge_budget_.spend(now)) return;
  const size_t chosen = decide(request, group, now);
  ++stats_.hedges;
  dispatch(request, *group.members[candidates_[chosen].member], candidates_[chosen], true, now);
}

}  // namespace sluice::router
