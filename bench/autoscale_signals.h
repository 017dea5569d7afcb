// The ways to say how many replicas a load needs that are compared: ours, and the references' formulas, each
// with its source, its target, how late its number is, and the controller that reads it. Pure; time comes in.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "router/core/units.h"
#include "server/scaling/hpa.h"

namespace sluice::autoscale {

using router::Seconds;

// What can be seen of a model at one moment.
struct LoadSample {
  Seconds at = 0;
  double demand = 0;     // our demand_replicas
  double in_flight = 0;  // requests that the router has, queued and running
  double queued_in_router = 0;
  double waiting = 0;   // vllm:num_requests_waiting, summed over ready replicas
  double running = 0;   // vllm:num_requests_running, likewise
  double kv_usage = 0;  // vllm:kv_cache_usage_perc, likewise
  int ready = 0;
};

// The last few minutes of it, one sample a second.
class LoadHistory {
 public:
  void add(const LoadSample& sample);
  // The newest that is at least so old; one of zeros when there is none.
  LoadSample at(Seconds moment) const;
  // The mean of what `of` says over the samples in (from, to].
  double mean(Seconds from, Seconds to, const std::function<double(const LoadSample&)>& of) const;

 private:
  static constexpr size_t kMost = 600;
  std::deque<LoadSample> samples_;
};

class Scaler {
 public:
  virtual ~Scaler() = default;
  virtual Seconds interval() const = 0;  // between two looks
  // `replicas`: as it asked for last. Returns how many it asks for now.
  virtual int look(Seconds now, int replicas, const LoadHistory& history) = 0;
};

struct Bounds {
  int least = 1;
  int most = 16;
};

struct SignalOptions {
  Bounds bounds;
  double tolerance = 0.1;
  Seconds stabilization = 300;  // of the HPA, before it falls
  Seconds direct_lag = 1;       // a metrics API that the router serves itself: it counts each second
  Seconds prometheus_lag = 45;  // scrape, rule and adapter or KEDA: 30 to 60 s
  double target_scale = 1;      // all targets times this; ours: the replica's full load times this
};

struct Signal {
  std::string name;
  std::string formula;
  std::string source;
  bool is_ours = false;
  bool predicts = false;
  int fixed = 0;  // > 0: so many, whatever the load
  std::function<std::unique_ptr<Scaler>(const SignalOptions&)> make;
};

// All of them. `fixed`: also so many replicas for ever.
std::vector<Signal> signals(const std::vector<int>& fixed);

}  // namespace sluice::autoscale
