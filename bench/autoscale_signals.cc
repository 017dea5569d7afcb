#include "bench/autoscale_signals.h"

#include <algorithm>
#include <cmath>

namespace sluice::autoscale {
namespace {

using Metric = std::function<double(const LoadSample&)>;

// A HorizontalPodAutoscaler with one metric of type Object or External and an AverageValue target.
class HpaScaler final : public Scaler {
 public:
  HpaScaler(const SignalOptions& options, Metric metric, Seconds lag)
      : hpa_(spec_of(options)), metric_(std::move(metric)), lag_(lag) {}
  Seconds interval() const override { return hpa_.spec().sync; }
  int look(Seconds now, int replicas, const LoadHistory& history) override {
    return hpa_.look(now, replicas, metric_(history.at(now - lag_)));
  }

 private:
  static HpaSpec spec_of(const SignalOptions& options) {
    HpaSpec spec;
    spec.min_replicas = options.bounds.least;
    spec.max_replicas = options.bounds.most;
    spec.tolerance = options.tolerance;
    spec.down.stabilization = options.stabilization;
    return spec;
  }
  Hpa hpa_;
  const Metric metric_;
  const Seconds lag_;
};

// Knative's pod autoscaler (pkg/autoscaler/scaling/autoscaler.go, config-autoscaler's defaults): total
// concurrency over 60 s by target times utilisation 0.7; in panic, when the last tenth of the window asks for
// twice what is ready, by that tenth and only upwards, until a whole window has passed without. Tick 2 s, at
// most halved in a tick. Its metrics come straight from the request path, so they are not late.
class KnativeScaler final : public Scaler {
 public:
  KnativeScaler(const SignalOptions& options, double target) : options_(options), target_(target) {}
  Seconds interval() const override { return 2; }
  int look(Seconds now, int replicas, const LoadHistory& history) override {
    const auto concurrency = [](const LoadSample& sample) { return sample.in_flight; };
    const auto wanted = [&](Seconds window) {
      return static_cast<int>(
          std::ceil(history.mean(now - window, now, concurrency) / (kUtilization * target_) - 1e-9));
    };
    const int ready = std::max(history.at(now).ready, 1);
    const int stable = std::max(wanted(kWindow), static_cast<int>(std::floor(ready / kMaxDownRate)));
    const int panic = wanted(kWindow / 10);
    if (panic >= 2 * ready) {
      if (panic_since_ < 0) most_in_panic_ = 0;
      panic_since_ = now;
    } else if (panic_since_ >= 0 && now > panic_since_ + kWindow) {
      panic_since_ = -1;
    }
    int desired = stable;
    if (panic_since_ >= 0) {
      most_in_panic_ = std::max({most_in_panic_, panic, stable, replicas});
      desired = most_in_panic_;
    }
    return std::clamp(desired, options_.bounds.least, options_.bounds.most);
  }

 private:
  static constexpr Seconds kWindow = 60;
  static constexpr double kUtilization = 0.7, kMaxDownRate = 2;
  const SignalOptions options_;
  const double target_;
  Seconds panic_since_ = -1;
  int most_in_panic_ = 0;
};

class FixedScaler final : public Scaler {
 public:
  explicit FixedScaler(int replicas) : replicas_(replicas) {}
  Seconds interval() const override { return 3600; }
  int look(Seconds, int, const LoadHistory&) override { return replicas_; }

 private:
  const int replicas_;
};

// Of targets: production-stack's KEDA trigger (helm/values.yaml: num_requests_waiting, threshold 5); llm-d's
// default pair (guides: flow control queue threshold 1, running requests threshold 16, both AverageValue; the
// HPA takes the greater); llm-d-router's KV threshold 0.8; Knative's container-concurrency-target-default
// 100.
constexpr double kQueueTarget = 5, kFlowQueueTarget = 1, kRunningTarget = 16, kKvTarget = 0.8,
                 kConcurrencyTarget = 100;

}  // namespace

void LoadHistory::add(const LoadSample& sample) {
  samples_.push_back(sample);
  if (samples_.size() > kMost) samples_.pop_front();
}

LoadSample LoadHistory::at(Seconds moment) const {
  for (auto sample = samples_.rbegin(); sample != samples_.rend(); ++sample) {
    if (sample->at <= moment) return *sample;
  }
  return {};
}

double LoadHistory::mean(Seconds from, Seconds to, const Metric& of) const {
  double sum = 0;
  int count = 0;
  for (auto sample = samples_.rbegin(); sample != samples_.rend() && sample->at > from; ++sample) {
    if (sample->at > to) continue;
    sum += of(*sample);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

std::vector<Signal> signals(const std::vector<int>& fixed) {
  std::vector<Signal> all;
  const auto by_hpa = [](Metric metric, bool is_direct) {
    return [metric = std::move(metric), is_direct](const SignalOptions& options) -> std::unique_ptr<Scaler> {
      const Seconds lag = is_direct ? options.direct_lag : options.prometheus_lag;
      return std::make_unique<HpaScaler>(
          options, [metric, scale = options.target_scale](const LoadSample& s) { return metric(s) / scale; },
          lag);
    };
  };
  const auto demand = by_hpa([](const LoadSample& s) { return s.demand; }, true);
  all.push_back({.name = "sluice",
                 .formula = "demand_replicas",
                 .source = "server/scaling/demand.h; HPA, custom.metrics.k8s.io by the router",
                 .is_ours = true,
                 .make = demand});
  all.push_back({.name = "sluice+forecast",
                 .formula = "demand_replicas with --predict-traffic",
                 .source = "server/scaling/forecast.h; likewise",
                 .is_ours = true,
                 .predicts = true,
                 .make = demand});
  all.push_back(
      {.name = "queue",
       .formula = "ceil(waiting / 5)",
       .source = "production-stack's KEDA trigger on vllm:num_requests_waiting; Prometheus",
       .make = by_hpa([](const LoadSample& s) { return (s.waiting + s.queued_in_router) / kQueueTarget; },
                      false)});
  all.push_back({.name = "queue+running",
                 .formula = "max(ceil(queue / 1), ceil(running / 16))",
                 .source = "llm-d's default pair of KEDA triggers on its router's gauges; Prometheus",
                 .make = by_hpa(
                     [](const LoadSample& s) {
                       return std::max((s.waiting + s.queued_in_router) / kFlowQueueTarget,
                                       s.running / kRunningTarget);
                     },
                     false)});
  all.push_back({.name = "concurrency",
                 .formula = "mean of 60 s (panic: 6 s) of in flight / (100 * 0.7)",
                 .source = "Knative's KPA under KServe, its defaults",
                 .make = [](const SignalOptions& options) -> std::unique_ptr<Scaler> {
                   return std::make_unique<KnativeScaler>(options, kConcurrencyTarget * options.target_scale);
                 }});
  all.push_back({.name = "kv",
                 .formula = "ceil(sum of KV usage / 0.8)",
                 .source = "vllm:kv_cache_usage_perc as a Pods metric, llm-d-router's threshold; Prometheus",
                 .make = by_hpa([](const LoadSample& s) { return s.kv_usage / kKvTarget; }, false)});
  for (const int replicas : fixed) {
    all.push_back({.name = "fixed " + std::to_string(replicas),
                   .formula = std::to_string(replicas),
                   .source = "",
                   .fixed = replicas,
                   .make = [replicas](const SignalOptions&) -> std::unique_ptr<Scaler> {
                     return std::make_unique<FixedScaler>(replicas);
                   }});
  }
  return all;
}

}  // namespace sluice::autoscale
