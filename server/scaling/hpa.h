// The HorizontalPodAutoscaler's arithmetic, as Kubernetes' controller does it for one metric of type Object
// or External with an AverageValue target (pkg/controller/podautoscaler, v1.34): for replays of traces, for
// replicas on one machine, and so that what we export is tested against what reads it. A value; time comes in
// as seconds, the same clock in every call.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace sluice {

struct ScalingPolicy {
  enum class Kind : uint8_t { kPods, kPercent };
  Kind kind = Kind::kPercent;
  double value = 100;
  double period = 15;  // seconds
};

// One direction of `behavior`.
struct ScalingRules {
  enum class Select : uint8_t { kMax, kMin, kDisabled };
  double stabilization = 0;  // seconds
  std::vector<ScalingPolicy> policies;
  Select select = Select::kMax;
};

struct HpaSpec {
  int min_replicas = 1;  // 0: scale to zero (HPAScaleToZero)
  int max_replicas = 10;
  double average_value = 1;
  double tolerance = 0.1;
  double sync = 15;  // seconds between two looks; the caller's to keep
  ScalingRules up{0, {{ScalingPolicy::Kind::kPods, 4, 15}, {ScalingPolicy::Kind::kPercent, 100, 15}}};
  ScalingRules down{300, {{ScalingPolicy::Kind::kPercent, 100, 15}}};
};

class Hpa {
 public:
  explicit Hpa(HpaSpec spec) : spec_(std::move(spec)) {}

  // `replicas`: in spec.replicas now, ready or not. `metric`: the sum over its series. Returns the new
  // spec.replicas.
  int look(double now, int replicas, double metric);
  const HpaSpec& spec() const { return spec_; }

 private:
  struct Event {
    double at;
    int change;
  };
  struct Recommendation {
    double at;
    int replicas;
  };
  int wanted(int replicas, double metric) const;
  int stabilized(double now, int replicas, int desired);
  int limited(double now, int replicas, int desired) const;
  int up_limit(double now, int replicas) const;
  int down_limit(double now, int replicas) const;

  HpaSpec spec_;
  std::deque<Recommendation> recommendations_;
  std::vector<Event> ups_, downs_;
};

}  // namespace sluice
