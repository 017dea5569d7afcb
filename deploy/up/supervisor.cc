#include "deploy/up/supervisor.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace sluice::up {

// One is started even where none is demanded and zero allowed: it shows that the model loads, tells the
// router its name, and how long a start takes.
Supervisor::Supervisor(const SupervisorOptions& options)
    : options_(options), hpa_(options.hpa), desired_(std::max(options.hpa.min_replicas, 1)) {}

void Supervisor::enter(Replica& replica, ReplicaState state, double now) {
  replica.state = state;
  replica.since = now;
  replica.sick_since = -1;
}

void Supervisor::hear(double demand, std::span<const Sight> sights, double now) {
  demand_ = std::isfinite(demand) ? std::max(demand, 0.0) : 0;
  heard_ = now;
  for (const Sight& sight : sights) {
    const auto at = replicas_.find(sight.number);
    if (at == replicas_.end()) continue;
    Replica& replica = at->second;
    replica.in_flight = sight.in_flight;
    if (sight.is_ready && replica.state == ReplicaState::kLoading) {
      enter(replica, ReplicaState::kReady, now);
      was_ready_ = true;
    }
    if (!sight.is_unhealthy)
      replica.sick_since = -1;
    else if (replica.sick_since < 0)
      replica.sick_since = now;
  }
}

void Supervisor::ended(int number, double now) {
  const auto at = replicas_.find(number);
  if (at == replicas_.end()) return;
  Replica& replica = at->second;
  if (replica.state == ReplicaState::kLeaving) {
    replicas_.erase(at);
    return;
  }
  hopeless_ = hopeless_ || !was_ready_;
  if (replica.state == ReplicaState::kReady && now - replica.since >= options_.steady) replica.failures = 0;
  const double backoff = options_.first_backoff * std::exp2(std::min(replica.failures, 30));
  ++replica.failures;
  enter(replica, ReplicaState::kWaiting, now);
  replica.due = now + std::min(backoff, options_.longest_backoff);
  replica.is_killed = false;
  replica.in_flight = 0;
}

std::vector<Step> Supervisor::advance(double now) {
  // Who waits for the first replica does not wait for the next look.
  const bool wakes = desired_ == 0 && demand_ > 0;
  if (now - heard_ <= options_.stale && (now >= next_look_ || wakes)) look(now);
  reconcile(now);

  std::vector<Step> steps;
  for (auto& [number, replica] : replicas_) {
    const double age = now - replica.since;
    switch (replica.state) {
      case ReplicaState::kWaiting:
        if (now < replica.due) break;
        enter(replica, ReplicaState::kLoading, now);
        steps.push_back({Step::Kind::kStart, number});
        break;
      case ReplicaState::kLoading:
      case ReplicaState::kReady: {
        const bool is_stuck = replica.state == ReplicaState::kLoading && age >= options_.startup_timeout;
        const bool hangs = replica.sick_since >= 0 && now - replica.sick_since >= options_.hung_timeout;
        if (replica.is_killed || (!is_stuck && !hangs)) break;
        replica.is_killed = true;
        steps.push_back({Step::Kind::kKill, number});
        break;
      }
      case ReplicaState::kLeaving:
        if (replica.is_told || now < replica.due) break;
        replica.is_told = true;
        steps.push_back({Step::Kind::kStop, number});
        break;
    }
  }
  return steps;
}

void Supervisor::look(double now) {
  next_look_ = now + options_.hpa.sync;
  desired_ = hpa_.look(now, desired_, demand_);
}

void Supervisor::reconcile(double now) {
  const auto staying = [&] { return static_cast<int>(replicas_.size()) - count(ReplicaState::kLeaving); };
  while (staying() < desired_) add(now);
  while (staying() > desired_) release_one(now);
}

void Supervisor::add(double now) {
  int number = 1;
  while (replicas_.contains(number)) ++number;
  Replica& replica = replicas_[number];
  enter(replica, ReplicaState::kWaiting, now);
  replica.due = now;
}

// As a ReplicaSet does: first who does not run yet, of these the youngest. Then who has least to finish.
void Supervisor::release_one(double now) {
  const auto rank = [](const std::pair<const int, Replica>& each) {
    const auto& [number, replica] = each;
    return std::tuple(static_cast<int>(replica.state),
                      replica.state == ReplicaState::kReady ? replica.in_flight : -replica.since, -number);
  };
  auto victim = replicas_.end();
  for (auto at = replicas_.begin(); at != replicas_.end(); ++at) {
    if (at->second.state == ReplicaState::kLeaving) continue;
    if (victim == replicas_.end() || rank(*at) < rank(*victim)) victim = at;
  }
  if (victim->second.state == ReplicaState::kWaiting) {
    replicas_.erase(victim);
    return;
  }
  enter(victim->second, ReplicaState::kLeaving, now);
  victim->second.due = now + options_.notice;
}

bool Supervisor::is_listed(int number) const {
  const auto at = replicas_.find(number);
  return at != replicas_.end() &&
         (at->second.state == ReplicaState::kLoading || at->second.state == ReplicaState::kReady);
}

int Supervisor::count(ReplicaState state) const {
  return static_cast<int>(
      std::ranges::count_if(replicas_, [&](const auto& each) { return each.second.state == state; }));
}

}  // namespace sluice::up
