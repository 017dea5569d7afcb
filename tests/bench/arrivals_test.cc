#include "bench/serve/arrivals.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>

#include "bench/serve/distribution.h"
#include "bench/serve/random.h"

namespace sluice::bench {
namespace {

std::vector<double> gaps_of(const std::vector<double>& times) {
  std::vector<double> gaps;
  for (size_t i = 1; i < times.size(); ++i) gaps.push_back(times[i] - times[i - 1]);
  return gaps;
}

// With 200,000 gaps the mean of a right sampler lies within 1% of 1/rate but once in thousands of seeds.
TEST(PlanArrivals, poisson_gaps_are_exponential) {
  const auto times = plan_arrivals({.rate_rps = 50}, 200'000, 1e9, 3);
  const Distribution gaps(gaps_of(times));
  EXPECT_NEAR(gaps.mean(), 0.02, 0.0002);
  EXPECT_NEAR(gaps.deviation() / gaps.mean(), 1, 0.02);
  for (const double p : {10.0, 50.0, 90.0, 99.0})
    EXPECT_NEAR(gaps.percentile(p), -std::log(1 - p / 100) * 0.02, 0.02 * 0.05) << p;
  EXPECT_TRUE(std::ranges::is_sorted(times));
}

TEST(PlanArrivals, burstiness_is_the_shape_of_a_gamma_distribution) {
  for (const double shape : {0.25, 0.5, 2.0, 10.0}) {
    const Distribution gaps(gaps_of(plan_arrivals({.rate_rps = 10, .burstiness = shape}, 200'000, 1e9, 4)));
    EXPECT_NEAR(gaps.mean(), 0.1, 0.002) << shape;
    EXPECT_NEAR(gaps.deviation() / gaps.mean(), 1 / std::sqrt(shape), 0.03 / std::sqrt(shape)) << shape;
  }
}

TEST(PlanArrivals, constant_ones_have_equal_gaps_and_begin_at_once) {
  const auto times = plan_arrivals({.rate_rps = 4, .is_constant = true}, 9, 1e9, 1);
  ASSERT_EQ(times.size(), 9u);
  for (size_t i = 0; i < times.size(); ++i) EXPECT_DOUBLE_EQ(times[i], 0.25 * static_cast<double>(i));
}

TEST(PlanArrivals, the_seed_is_the_plan) {
  const ArrivalOptions options{.rate_rps = 7, .burstiness = 0.7};
  EXPECT_EQ(plan_arrivals(options, 1000, 1e9, 5), plan_arrivals(options, 1000, 1e9, 5));
  EXPECT_NE(plan_arrivals(options, 1000, 1e9, 5), plan_arrivals(options, 1000, 1e9, 6));
}

TEST(PlanArrivals, ends_by_number_or_by_time) {
  EXPECT_EQ(plan_arrivals({.rate_rps = 100}, 30, 1e9, 1).size(), 30u);
  const auto times = plan_arrivals({.rate_rps = 100}, 1'000'000, 20, 1);
  EXPECT_NEAR(static_cast<double>(times.size()), 2000, 200);
  EXPECT_LT(times.back(), 20);
  EXPECT_EQ(plan_arrivals({}, 5, 1e9, 1), std::vector<double>(5, 0.0));
}

TEST(PlanArrivals, follows_a_rate_that_changes) {
  const auto curve = parse_rate_steps("100:10,0:5,100-300:20");
  ASSERT_TRUE(curve.ok()) << curve.error().message;
  const auto times = plan_arrivals({.curve = *curve}, 1'000'000, 1e9, 9);
  const auto within = [&](double begin, double end) {
    return static_cast<double>(
        std::ranges::count_if(times, [&](double at) { return at >= begin && at < end; }));
  };
  EXPECT_NEAR(within(0, 10), 1000, 150);
  EXPECT_LE(within(10, 15), 1);
  EXPECT_NEAR(within(15, 25), 1500, 200);  // 100 to 200
  EXPECT_NEAR(within(25, 35), 2500, 250);  // 200 to 300
  EXPECT_EQ(within(35, 1e9), 0);
}

TEST(MakeRamp, takes_as_long_as_its_requests_do) {
  for (const bool is_exponential : {false, true}) {
    const auto curve = make_ramp(10, 90, 5000, is_exponential);
    const auto times = plan_arrivals({.is_constant = true, .curve = curve}, 1'000'000, 1e9, 1);
    EXPECT_NEAR(static_cast<double>(times.size()), 5000, 5000 * 0.001 + 2) << is_exponential;
  }
  EXPECT_EQ(make_ramp(5, 5, 100, true).size(), 64u);  // no logarithm of 1 to divide by
}

TEST(ParseRateSteps, names_what_is_wrong) {
  for (const char* text : {"", "5", "5:0", "-1:3", "a:3", "5:b", "1-:3", "5:3,,", "inf:3", "5:3:4"}) {
    const auto curve = parse_rate_steps(text);
    EXPECT_FALSE(curve.ok()) << text;
    if (!curve.ok()) {
      EXPECT_NE(curve.error().message.find("--rate-steps"), std::string::npos);
    }
  }
}

// Shared workloads depend on these values.
TEST(Random, draws_the_same_on_every_machine) {
  Random random(42);
  EXPECT_EQ(random.next(), 0xbdd732262feb6e95ULL);
  EXPECT_EQ(random.next(), 0x28efe333b266f103ULL);
  EXPECT_NE(Random(1, 2, 3).next(), Random(1, 3, 2).next());
}

}  // namespace
}  // namespace sluice::bench
