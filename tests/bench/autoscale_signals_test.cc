#include "bench/autoscale_signals.h"

#include <gtest/gtest.h>

namespace sluice::autoscale {
namespace {

std::unique_ptr<Scaler> scaler(const std::string& name, const SignalOptions& options = {}) {
  for (const Signal& signal : signals({})) {
    if (signal.name == name) return signal.make(options);
  }
  ADD_FAILURE() << name;
  return nullptr;
}

LoadHistory steady(const LoadSample& sample, Seconds until = 100) {
  LoadHistory history;
  for (Seconds at = 0; at <= until; ++at) {
    LoadSample now = sample;
    now.at = at;
    history.add(now);
  }
  return history;
}

TEST(AutoscaleSignals, each_has_its_formula) {
  LoadSample load{.demand = 3, .in_flight = 150, .queued_in_router = 2, .waiting = 10, .running = 66};
  load.kv_usage = 2.1;
  load.ready = 3;
  const LoadHistory history = steady(load);
  const SignalOptions wide{.bounds = {1, 100}};
  EXPECT_EQ(scaler("sluice", wide)->look(100, 2, history), 3);
  EXPECT_EQ(scaler("queue", wide)->look(100, 2, history), 3);          // 12 / 5
  EXPECT_EQ(scaler("queue+running", wide)->look(100, 4, history), 8);  // 12 / 1, but at most doubled
  EXPECT_EQ(scaler("concurrency", wide)->look(100, 3, history), 3);    // 150 / 70
  EXPECT_EQ(scaler("kv", wide)->look(100, 2, history), 3);             // 2.1 / 0.8
}

TEST(AutoscaleSignals, targets_can_be_made_tighter) {
  const LoadHistory history = steady({.demand = 4, .waiting = 20, .ready = 4});
  EXPECT_EQ(scaler("sluice", {.target_scale = 0.5})->look(100, 4, history), 8);
  EXPECT_EQ(scaler("queue", {.target_scale = 0.5})->look(100, 4, history), 8);
}

TEST(AutoscaleSignals, a_number_through_prometheus_is_late) {
  LoadHistory history = steady({.at = 0}, 99);
  for (Seconds at = 100; at < 200; ++at) {
    history.add({.at = at, .demand = 4, .waiting = 20, .ready = 1});
  }
  EXPECT_EQ(scaler("sluice")->look(102, 1, history), 4);
  EXPECT_EQ(scaler("queue")->look(130, 1, history), 1);
  EXPECT_EQ(scaler("queue")->look(146, 1, history), 4);
}

TEST(AutoscaleSignals, bounds_hold) {
  const LoadHistory much = steady({.demand = 1000, .in_flight = 1e6, .ready = 1}, 500);
  const SignalOptions options{.bounds = {2, 6}};
  for (const char* name : {"sluice", "concurrency"}) {
    const auto one = scaler(name, options);
    int replicas = 2;
    for (Seconds at = 100; at < 500; at += one->interval()) replicas = one->look(at, replicas, much);
    EXPECT_EQ(replicas, 6) << name;
    for (Seconds at = 561; at < 1800; at += one->interval()) replicas = one->look(at, replicas, {});
    EXPECT_EQ(replicas, 2) << name;
  }
}

TEST(AutoscaleSignals, knative_panics_upwards_and_waits_a_window_before_it_falls) {
  const auto knative = scaler("concurrency", {.bounds = {1, 50}});
  LoadHistory history;
  int replicas = 1;
  int most = 0;
  Seconds fell = 0;
  for (Seconds at = 0; at < 400; ++at) {
    // Seven replicas' worth from 100 to 130 s.
    history.add({.at = at, .in_flight = at >= 100 && at < 130 ? 490.0 : 1.0, .ready = replicas});
    if (static_cast<int>(at) % 2 != 0) continue;
    const int next = knative->look(at, replicas, history);
    if (at < 110 && at >= 100) most = std::max(most, next);
    if (next < replicas && fell == 0) fell = at;
    replicas = next;
  }
  EXPECT_EQ(most, 7);  // by its window of 6 s, not by that of 60
  EXPECT_GE(fell, 160);
  EXPECT_EQ(replicas, 1);
}

TEST(LoadHistory, finds_moments_and_means) {
  LoadHistory history;
  EXPECT_EQ(history.at(5).ready, 0);
  for (int at = 0; at < 1000; ++at) history.add({.at = static_cast<double>(at), .in_flight = at * 1.0});
  EXPECT_EQ(history.at(900.5).in_flight, 900);
  EXPECT_EQ(history.at(10).in_flight, 0);  // forgotten
  EXPECT_EQ(history.mean(989, 999, [](const LoadSample& s) { return s.in_flight; }), 994.5);
}

}  // namespace
}  // namespace sluice::autoscale
