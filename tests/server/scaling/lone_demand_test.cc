#include "server/scaling/lone_demand.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

// A server whose step takes 10 ms and another 0.5 ms for each request, so its knee is at 80.
LoneDemand learned() {
  LoneDemand demand;
  for (int i = 0; i < 100; ++i) {
    const double running = 1 + i % 40;
    demand.answered({.computed_tokens = 1000,
                     .prefill_seconds = 0.1 * (1 + i % 3),  // alone, or beside one or two others
                     .running = running,
                     .step_seconds = 0.010 + 0.0005 * running},
                    i * 0.1);
  }
  return demand;
}

TEST(LoneDemand, is_zero_without_load_whatever_was_learned) {
  EXPECT_EQ(LoneDemand().look({}, 0).replicas, 0);
  EXPECT_EQ(learned().look({.runs_at_once = 256}, 1000).replicas, 0);
}

TEST(LoneDemand, is_one_with_any_load_before_anything_is_learned) {
  EXPECT_EQ(LoneDemand().look({.running = 1, .runs_at_once = 256}, 0).replicas, 1);
  // Beyond what it runs at once there is no doubt.
  EXPECT_EQ(LoneDemand().look({.running = 8, .waiting = 12, .runs_at_once = 8}, 0).replicas, 3);
}

TEST(LoneDemand, goes_by_the_knee_that_it_measured) {
  const Demand demand = learned().look({.running = 100, .waiting = 100, .runs_at_once = 256}, 11);
  EXPECT_EQ(demand.reason, DemandTerm::kConcurrency);
  EXPECT_NEAR(demand.raw, 200.0 / 80, 0.1);
}

TEST(LoneDemand, goes_by_the_time_that_waiting_prompts_need) {
  // 0.1 ms a token: 100,000 of them are ten seconds, to be computed in two.
  const Demand demand =
      learned().look({.running = 4, .waiting = 20, .waiting_tokens = 100'000, .runs_at_once = 256}, 11);
  EXPECT_EQ(demand.reason, DemandTerm::kBacklog);
  EXPECT_NEAR(demand.raw, 5, 0.5);
}

TEST(LoneDemand, goes_by_the_kv_cache) {
  const Demand demand = learned().look({.running = 4, .kv_share = 0.96, .runs_at_once = 256}, 11);
  EXPECT_EQ(demand.reason, DemandTerm::kKv);
  EXPECT_NEAR(demand.raw, 1.2, 1e-9);
}

TEST(LoneDemand, many_of_them_add_up_to_what_one_would_say) {
  // Four times 50 requests ask for as much as 200 at one.
  LoneDemand one = learned();
  const double whole = one.look({.running = 200, .runs_at_once = 256}, 11).raw;
  const double part = one.look({.running = 50, .runs_at_once = 256}, 11).raw;
  EXPECT_NEAR(4 * part, whole, 1e-9);
}

}  // namespace
}  // namespace sluice
