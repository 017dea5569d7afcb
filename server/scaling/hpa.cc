#include "server/scaling/hpa.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice {
namespace {

template <class Events>
int changed_within(const Events& events, double from) {
  int sum = 0;
  for (const auto& event : events) sum += event.at > from ? event.change : 0;
  return sum;
}

// The controller keeps what is too old for this direction's own policies until a new event takes its place;
// the other direction's policies may still count it.
template <class Events>
void remember(Events& events, double own_period, typename Events::value_type event) {
  const auto old = std::find_if(events.rbegin(), events.rend(),
                                [&](const auto& each) { return each.at <= event.at - own_period; });
  if (old != events.rend())
    *old = event;
  else
    events.push_back(event);
}

double longest_period(const ScalingRules& rules) {
  double longest = 0;
  for (const ScalingPolicy& policy : rules.policies) longest = std::max(longest, policy.period);
  return longest;
}

}  // namespace

int Hpa::look(double now, int replicas, double metric) {
  // Set to zero by hand where zero is not allowed: paused.
  if (replicas == 0 && spec_.min_replicas > 0) return 0;
  if (recommendations_.empty()) recommendations_.push_back({now, replicas});
  int desired = 0;
  if (replicas > spec_.max_replicas) {
    desired = spec_.max_replicas;
  } else if (replicas < spec_.min_replicas) {
    desired = spec_.min_replicas;
  } else {
    desired = limited(now, replicas, stabilized(now, replicas, wanted(replicas, metric)));
  }
  if (desired > replicas) remember(ups_, longest_period(spec_.up), {now, desired - replicas});
  if (desired < replicas) remember(downs_, longest_period(spec_.down), {now, replicas - desired});
  return desired;
}

int Hpa::wanted(int replicas, double metric) const {
  const double ratio =
      metric / (spec_.average_value * replicas);  // of no replicas: infinite, or not a number
  if (1 - spec_.tolerance <= ratio && ratio <= 1 + spec_.tolerance) return replicas;
  const double wanted = std::ceil(metric / spec_.average_value);
  return static_cast<int>(std::clamp(wanted, 0.0, 1e6));
}

// Up only as far as all recommendations of its window go, down only as far as none of its window goes above.
int Hpa::stabilized(double now, int replicas, int desired) {
  int up = desired, down = desired;
  for (const Recommendation& past : recommendations_) {
    if (past.at > now - spec_.up.stabilization) up = std::min(up, past.replicas);
    if (past.at > now - spec_.down.stabilization) down = std::max(down, past.replicas);
  }
  recommendations_.push_back({now, desired});
  const double longest = std::max(spec_.up.stabilization, spec_.down.stabilization);
  while (recommendations_.front().at < now - longest) {
    recommendations_.pop_front();
  }
  return std::min(std::max(replicas, up), down);
}

int Hpa::limited(double now, int replicas, int desired) const {
  if (desired > replicas) return std::min({desired, up_limit(now, replicas), spec_.max_replicas});
  if (desired < replicas) return std::max({desired, down_limit(now, replicas), spec_.min_replicas});
  return desired;
}

int Hpa::up_limit(double now, int replicas) const {
  if (spec_.up.select == ScalingRules::Select::kDisabled) return replicas;
  const bool most = spec_.up.select == ScalingRules::Select::kMax;
  double limit = most ? std::numeric_limits<int>::min() : std::numeric_limits<int>::max();
  for (const ScalingPolicy& policy : spec_.up.policies) {
    const double from = now - policy.period;
    const double start = replicas - changed_within(ups_, from) + changed_within(downs_, from);
    const double allowed = policy.kind == ScalingPolicy::Kind::kPods
                               ? start + policy.value
                               : std::ceil(start * (1 + policy.value / 100));
    limit = most ? std::max(limit, allowed) : std::min(limit, allowed);
  }
  return static_cast<int>(std::clamp(limit, static_cast<double>(replicas), 1e6));
}

int Hpa::down_limit(double now, int replicas) const {
  if (spec_.down.select == ScalingRules::Select::kDisabled) return replicas;
  const bool most = spec_.down.select == ScalingRules::Select::kMax;
  double limit = most ? std::numeric_limits<int>::max() : std::numeric_limits<int>::min();
  for (const ScalingPolicy& policy : spec_.down.policies) {
    const double from = now - policy.period;
    const double start = replicas + changed_within(downs_, from) - changed_within(ups_, from);
    const double allowed = policy.kind == ScalingPolicy::Kind::kPods
                               ? start - policy.value
                               : std::trunc(start * (1 - policy.value / 100));
    limit = most ? std::min(limit, allowed) : std::max(limit, allowed);
  }
  return static_cast<int>(std::clamp(limit, -1e6, static_cast<double>(replicas)));
}

}  // namespace sluice
