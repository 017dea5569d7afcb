#include "router/core/fleet.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace sluice::router {

const char* name_of(ReplicaState state) {
  constexpr const char* kNames[] = {"starting", "ready", "draining", "unhealthy", "gone"};
  return kNames[static_cast<size_t>(state)];
}

const char* name_of(Knowledge knowledge) {
  constexpr const char* kNames[] = {"exact", "repairing", "approximate"};
  return kNames[static_cast<size_t>(knowledge)];
}

bool serves(const Replica& replica, const std::string& model) {
  const auto& models = replica.spec.models;
  return model.empty() || models.empty() || std::ranges::find(models, model) != models.end();
}

Seconds Replica::wait_seconds(const PrefillRate& speed, Seconds now) const {
  const Seconds foreign = speed.token_seconds * static_cast<double>(foreign_prefill_tokens);
  if (prefilling == 0) return foreign;
  const Seconds queued = speed.seconds(prefill_work);
  // Of the prompt at the head a part is done; how long that one is we know only on average.
  const Seconds done = std::clamp(now - head_since, 0.0, queued / prefilling);
  return queued - done + foreign;
}

double Replica::kv_usage() const {
  const double ours =
      static_cast<double>(fresh_tokens) / static_cast<double>(std::max<uint64_t>(spec.kv_tokens, 1));
  return std::clamp(std::max(ours, load.kv_usage), 0.0, 1.0);
}

Charge::Charge(Charge&& other) noexcept {
  *this = std::move(other);
}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this == &other) return *this;
  release();
  fleet_ = other.fleet_;
  replica_ = std::exchange(other.replica_, nullptr);
  work_ = other.work_;
  prompt_tokens_ = other.prompt_tokens_;
  fresh_tokens_ = other.fresh_tokens_;
  prefilling_ = other.prefilling_;
  taken_at_ = other.taken_at_;
  return *this;
}

void Charge::give_back_prefill() {
  prefilling_ = false;
  if (--replica_->prefilling == 0) {
    replica_->prefill_work = {};  // and no rounding errors of sums that came and went
  } else {
    replica_->prefill_work -= work_;
  }
}

void Charge::prefilled(Seconds now) {
  if (replica_ == nullptr || !prefilling_) return;
  give_back_prefill();
  replica_->observe_prefilled(work_, std::max(now - std::max(replica_->head_since, taken_at_), 0.0), now);
}

void Charge::correct(uint32_t prompt_tokens, uint32_t cached_tokens) {
  if (replica_ == nullptr) return;
  replica_->context_tokens += uint64_t{prompt_tokens} - prompt_tokens_;
  prompt_tokens_ = prompt_tokens;
  cached_tokens = std::min(cached_tokens, prompt_tokens);
  replica_->fresh_tokens += uint64_t{prompt_tokens} - cached_tokens - fresh_tokens_;
  fresh_tokens_ = prompt_tokens - cached_tokens;
  if (!prefilling_) return;
  replica_->prefill_work -= work_;
  work_ = PrefillWork::of(prompt_tokens - cached_tokens, cached_tokens);
  replica_->prefill_work += work_;
}

void Charge::release() {
  if (replica_ == nullptr) return;
  if (prefilling_) give_back_prefill();
  replica_->context_tokens -= prompt_tokens_;
  replica_->fresh_tokens -= fresh_tokens_;
  --replica_->in_flight;
  Replica& replica = *std::exchange(replica_, nullptr);
  if (replica.in_flight == 0) fleet_->at_rest(replica);
}

void Replica::observe_prefilled(const PrefillWork& work, Seconds elapsed, Seconds now) {
  // Prompts that end in the same step are observed together, and short ones gathered: a time of few tokens
  // says more on the step than on the tokens.
  constexpr double kTokens = 1024;
  if (window_work.tokens >= kTokens && now > head_since) {
    rate.observe_prefill(window_work, window_seconds);
    observed_at = now;
    window_work = {};
    window_seconds = 0;
  }
  window_work += work;
  window_seconds += elapsed;
  head_since = now;
}

Fleet::~Fleet() {
  for (const auto& replica : replicas_) SLUICE_CHECK_EQ(replica->in_flight, 0U);
}

Replica* Fleet::add(ReplicaSpec spec) {
  if (replicas_.size() >= options_.max_replicas || find(spec.name) != nullptr) return nullptr;
  auto replica = std::make_unique<Replica>();
  replica->id = ++last_id_;
  replica->health = Health(options_.health);
  replica->breaker = Breaker(options_.breaker);
  replica->rate = RateLearner(replicas_.empty() ? options_.prior : mean_rate());
  replica->spec = std::move(spec);
  replicas_.push_back(std::move(replica));
  ++version_;
  return replicas_.back().get();
}

void Fleet::remove(ReplicaId id) {
  Replica* replica = find(id);
  if (replica == nullptr) return;
  replica->state = ReplicaState::kGone;
  ++version_;
  if (replica->in_flight == 0) at_rest(*replica);
}

void Fleet::at_rest(Replica& replica) {
  if (replica.state != ReplicaState::kGone) return;
  std::erase_if(replicas_, [&](const auto& other) { return other.get() == &replica; });
  ++version_;
}

const Replica* Fleet::find(ReplicaId id) const {
  const auto at =
      std::ranges::lower_bound(replicas_, id, {}, [](const auto& replica) { return replica->id; });
  return at != replicas_.end() && (*at)->id == id ? at->get() : nullptr;
}

Replica* Fleet::find(std::string_view name) {
  for (const auto& replica : replicas_) {
    if (replica->spec.name == name && replica->state != ReplicaState::kGone) return replica.get();
  }
  return nullptr;
}

Charge Fleet::charge(Replica& replica, uint32_t prompt_tokens, uint32_t cached_tokens, Seconds now) {
  cached_tokens = std::min(cached_tokens, prompt_tokens);
  Charge charge;
  charge.fleet_ = this;
  charge.replica_ = &replica;
  charge.work_ = PrefillWork::of(prompt_tokens - cached_tokens, cached_tokens);
  charge.prompt_tokens_ = prompt_tokens;
  charge.prefilling_ = true;
  charge.taken_at_ = now;
  ++replica.in_flight;
  if (replica.prefilling++ == 0) replica.head_since = now;
  replica.prefill_work += charge.work_;
  replica.context_tokens += prompt_tokens;
  replica.fresh_tokens += charge.fresh_tokens_ = prompt_tokens - cached_tokens;
  return charge;
}

void Fleet::report(Replica& replica, const LoadReport& load) {
  replica.load = load;
  // Ours are counted from before dispatch on, so what it has beyond them came by another way. A report and a
  // first byte may pass each other on the line: only what two reports in a row show is believed.
  const auto ours = static_cast<uint64_t>(std::max(replica.prefill_work.tokens, 0.0));
  const uint64_t tokens = load.prefill_tokens > ours ? load.prefill_tokens - ours : 0;
  const uint64_t theirs = uint64_t{load.running} + load.waiting;
  const auto running = static_cast<uint32_t>(theirs > replica.in_flight ? theirs - replica.in_flight : 0);
  replica.foreign_running = std::min(running, replica.last_excess_running);
  // Where all requests are ours, more tokens than we think are our own wrong guesses at what is cached.
  replica.foreign_prefill_tokens =
      replica.foreign_running == 0 ? 0 : std::min(tokens, replica.last_excess_tokens);
  replica.last_excess_tokens = tokens;
  replica.last_excess_running = running;
}

PrefillRate believed_rate(const Replica& replica, const PrefillRate& mean, Seconds now) {
  constexpr double kFewObservations = 4;
  constexpr Seconds kMemory = 120;
  constexpr double kNoise = 0.15;
  const auto seen = static_cast<double>(replica.rate.observations());
  const PrefillRate& own = replica.rate.prefill();
  const double apart = std::log(own.token_seconds / mean.token_seconds);
  const double belief = seen / (seen + kFewObservations) * std::exp((replica.observed_at - now) / kMemory) *
                        apart * apart / (apart * apart + kNoise * kNoise);
  const auto blend = [&](double fleet, double alone) {
    return fleet + std::min(belief, 1.0) * (alone - fleet);
  };
  return {blend(mean.token_seconds, own.token_seconds), blend(mean.attention_seconds, own.attention_seconds)};
}

PrefillRate Fleet::mean_rate() const {
  // Harmonic in the rates, as work spreads over the fleet by speed.
  double weight = 0, speed = 0, attention = 0;
  for (const auto& replica : replicas_) {
    if (replica->state == ReplicaState::kGone || replica->rate.observations() == 0) continue;
    const PrefillRate& rate = replica->rate.prefill();
    weight += replica->spec.weight;
    speed += replica->spec.weight / rate.token_seconds;
    attention += replica->spec.weight * rate.attention_seconds;
  }
  if (weight == 0) return options_.prior;
  return {weight / speed, attention / weight};
}

}  // namespace sluice::router
