#include "bench/autoscale_workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>

namespace sluice::autoscale {
namespace {

size_t between(const Workload& workload, Seconds from, Seconds to) {
  size_t count = 0;
  for (const auto& request : workload.requests) count += request.at >= from && request.at < to ? 1 : 0;
  return count;
}

TEST(AutoscaleWorkload, a_step_has_the_rates_that_it_was_asked_for) {
  const Shape shape{.kind = Shape::Kind::kStep, .low = 1, .high = 10, .duration = 1000};
  const Workload workload = make_workload(shape, 7);
  EXPECT_NEAR(static_cast<double>(between(workload, 0, 200)), 200, 60);
  EXPECT_NEAR(static_cast<double>(between(workload, 200, 800)), 6000, 320);
  EXPECT_NEAR(static_cast<double>(between(workload, 800, 1000)), 200, 60);
  EXPECT_TRUE(std::ranges::is_sorted(workload.requests, {}, &router_sim::SimRequest::at));
}

TEST(AutoscaleWorkload, a_day_is_lowest_at_its_ends_and_highest_at_noon) {
  const Shape shape{.kind = Shape::Kind::kDiurnal, .low = 1, .high = 9, .period = 100};
  EXPECT_NEAR(rate_at(shape, 0, 1), 1, 1e-9);
  EXPECT_NEAR(rate_at(shape, 25, 1), 5, 1e-9);
  EXPECT_NEAR(rate_at(shape, 50, 1), 9, 1e-9);
  EXPECT_NEAR(rate_at(shape, 100, 1), 1, 1e-9);
}

TEST(AutoscaleWorkload, each_period_has_one_burst_of_its_length) {
  const Shape shape{.kind = Shape::Kind::kBursts, .low = 1, .high = 5, .period = 100, .burst = 20};
  for (int period = 0; period < 20; ++period) {
    int seconds = 0;
    for (int i = 0; i < 1000; ++i) seconds += rate_at(shape, period * 100 + i * 0.1, 3) == 5 ? 1 : 0;
    EXPECT_NEAR(seconds, 200, 1) << period;
  }
}

TEST(AutoscaleWorkload, the_same_seed_is_the_same_workload_and_prompts_share_their_group_alone) {
  const Shape shape{.low = 5, .high = 5, .duration = 100, .groups = 3, .system_tokens = 1024};
  const Workload one = make_workload(shape, 5), two = make_workload(shape, 5),
                 other = make_workload(shape, 6);
  ASSERT_EQ(one.requests.size(), two.requests.size());
  EXPECT_NE(one.requests.size(), other.requests.size());
  std::set<uint64_t> firsts, lasts;
  for (size_t i = 0; i < one.requests.size(); ++i) {
    EXPECT_EQ(*one.requests[i].prompt.blocks, *two.requests[i].prompt.blocks);
    firsts.insert(one.requests[i].prompt.blocks->front());
    if (one.requests[i].prompt.prompt_tokens >= 1152) lasts.insert((*one.requests[i].prompt.blocks)[8]);
  }
  EXPECT_EQ(firsts.size(), 3U);
  EXPECT_GT(lasts.size(), one.requests.size() / 2);
}

TEST(AutoscaleWorkload, needs_as_many_as_the_work_fills) {
  // Each second one prompt of 8000 tokens that no cache holds, at 8000 tokens a second: one replica is busy
  // all of its time, so two are needed to be busy four fifths of it at most.
  Workload workload{.block_tokens = 512};
  for (int i = 0; i < 300; ++i) {
    workload.requests.push_back({.at = static_cast<double>(i),
                                 .prompt = {.blocks = std::make_shared<std::vector<uint64_t>>(),
                                            .prompt_tokens = 8000,
                                            .output_tokens = 1}});
  }
  const std::vector<int> needed = needed_replicas(workload, ReplicaModel{});
  ASSERT_EQ(needed.size(), 300U);
  EXPECT_EQ(needed[150], 2);
  // The same prompt again and again costs nothing but its first time.
  const auto blocks = std::make_shared<std::vector<uint64_t>>();
  for (uint64_t i = 0; i < 15; ++i) blocks->push_back(i + 1);
  for (auto& request : workload.requests) request.prompt.blocks = blocks;
  EXPECT_EQ(needed_replicas(workload, ReplicaModel{})[150], 1);
  EXPECT_TRUE(needed_replicas({}, ReplicaModel{}).empty());
}

}  // namespace
}  // namespace sluice::autoscale
