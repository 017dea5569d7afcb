#include "bench/autoscale_sim.h"

#include <gtest/gtest.h>

#include <functional>

namespace sluice::autoscale {
namespace {

DeploymentOptions quick() {
  DeploymentOptions options;
  options.core.index = {.budget_bytes = 4 << 20, .secret = 1};
  options.core.dictionary_bytes = 1 << 20;
  options.core.hedge_factor = 0;
  options.core.default_deadline = 120;
  options.model.block_tokens = 128;
  options.cold_start = 30;
  return options;
}

class Scripted final : public Scaler {
 public:
  explicit Scripted(std::function<int(Seconds)> wanted) : wanted_(std::move(wanted)) {}
  Seconds interval() const override { return 5; }
  int look(Seconds now, int, const LoadHistory&) override { return wanted_(now); }

 private:
  const std::function<int(Seconds)> wanted_;
};

AutoscaleReport run(const DeploymentOptions& options, const Shape& shape,
                    std::function<int(Seconds)> wanted) {
  const Workload workload = make_workload(shape, 3);
  const std::vector<int> needed = needed_replicas(workload, options.model);
  return Deployment(options, workload, needed, std::make_unique<Scripted>(std::move(wanted))).run();
}

constexpr Shape kEven{.low = 2, .high = 2, .duration = 600};

TEST(AutoscaleSim, a_fixed_fleet_costs_what_it_says) {
  DeploymentOptions options = quick();
  options.first_replicas = 2;
  const AutoscaleReport report = run(options, kEven, [](Seconds) { return 2; });
  EXPECT_GT(report.requests, 1000U);
  EXPECT_EQ(report.lost, 0U);
  EXPECT_NEAR(report.replica_hours, 2 * 600 / 3600.0, 0.02);
  EXPECT_EQ(report.peak, 2);
  EXPECT_EQ(report.flaps, 0);
  EXPECT_GT(report.slo, 0.99);
}

TEST(AutoscaleSim, replicas_come_after_their_cold_start_and_no_request_is_lost_when_they_go) {
  const AutoscaleReport report = run(quick(), kEven, [](Seconds now) { return now < 300 ? 4 : 1; });
  EXPECT_EQ(report.lost, 0U);
  EXPECT_EQ(report.peak, 4);
  EXPECT_EQ(report.flaps, 1);  // up, then down
  Seconds first_ready = 0, last_held = 0;
  for (const Moment& moment : report.moments) {
    if (moment.ready == 4 && first_ready == 0) first_ready = moment.at;
    if (moment.held > 1) last_held = moment.at;
  }
  EXPECT_GE(first_ready, 27);
  EXPECT_LE(first_ready, 50);
  EXPECT_GE(last_held, 290);
  EXPECT_LE(last_held, 400);  // drained
}

TEST(AutoscaleSim, too_few_lose_requests_and_all_are_counted) {
  const Shape heavy{.low = 12, .high = 12, .duration = 600};
  const AutoscaleReport report = run(quick(), heavy, [](Seconds) { return 1; });
  EXPECT_GT(report.lost, 100U);
  EXPECT_LT(report.slo, 0.5);
  EXPECT_GT(report.short_share, 0.9);
  EXPECT_GT(report.longest_shortage, 500);
  EXPECT_EQ(report.overshoot, 0);
}

TEST(AutoscaleSim, the_same_seed_gives_the_same_report) {
  const auto wanted = [](Seconds now) { return 1 + static_cast<int>(now / 60) % 4; };
  const AutoscaleReport one = run(quick(), kEven, wanted), two = run(quick(), kEven, wanted);
  EXPECT_EQ(one.ttft_mean, two.ttft_mean);
  EXPECT_EQ(one.replica_hours, two.replica_hours);
  EXPECT_EQ(one.flaps, two.flaps);
  EXPECT_GT(one.flaps, 2);
}

// What the formulas promise, in the loop with the real HPA: a step is followed up and down, with nothing lost
// and little beyond what is needed; and the signal is better than a queue's depth at no greater cost.
TEST(AutoscaleSim, our_signal_follows_a_step) {
  const Shape shape{.kind = Shape::Kind::kStep, .low = 0.5, .high = 8, .duration = 3600};
  const Workload workload = make_workload(shape, 1);
  const DeploymentOptions options = quick();
  const std::vector<int> needed = needed_replicas(workload, options.model);
  std::map<std::string, AutoscaleReport> reports;
  for (const Signal& signal : signals({})) {
    reports[signal.name] = Deployment(options, workload, needed, signal.make({})).run();
  }
  const AutoscaleReport& ours = reports.at("sluice");
  EXPECT_EQ(ours.lost, 0U);
  EXPECT_GT(ours.slo, 0.95);
  EXPECT_LE(ours.flaps, 3);
  EXPECT_LE(ours.longest_shortage, 100);
  EXPECT_EQ(ours.moments.back().desired, 1);
  for (const char* other : {"queue", "queue+running"}) {
    EXPECT_GT(ours.slo, reports.at(other).slo) << other;
    EXPECT_LT(ours.replica_hours, reports.at(other).replica_hours) << other;
  }
}

}  // namespace
}  // namespace sluice::autoscale
