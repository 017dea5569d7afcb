#include "server/scaling/concurrency_knee.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace sluice {
namespace {

TEST(ConcurrencyKnee, finds_where_four_fifths_of_the_most_are_reached) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    ConcurrencyKnee knee;
    const double first = 0.006, each = 0.0001 * static_cast<double>(1 + seed);
    std::lognormal_distribution<double> noise(0, 0.1);
    for (int i = 0; i < 400; ++i) {
      const auto running = static_cast<double>(1 + random() % 100);
      knee.observe(running, (first + each * running) * noise(random));
    }
    const double expected = 4 * first / each;
    EXPECT_NEAR(knee.requests() / expected, 1, 0.35) << seed;
    const auto rate = [&](double n) { return n / (first + each * n) * each; };
    EXPECT_NEAR(rate(knee.requests()), 0.8, 0.06) << seed;
    EXPECT_NEAR(knee.step(50) / (first + each * 50), 1, 0.1) << seed;
  }
}

TEST(ConcurrencyKnee, keeps_a_target_for_the_step) {
  ConcurrencyKnee knee;
  for (int i = 0; i < 400; ++i) knee.observe(1 + i % 64, 0.010 + 0.001 * (1 + i % 64));
  EXPECT_NEAR(knee.requests(), 40, 2);
  EXPECT_NEAR(knee.requests(0.030), 20, 1);
  EXPECT_EQ(knee.requests(0.001), 1);
  EXPECT_NEAR(knee.requests(1), 40, 2);
}

TEST(ConcurrencyKnee, is_not_known_at_first_and_careful_where_it_saw_one_number_only) {
  ConcurrencyKnee knee;
  EXPECT_EQ(knee.requests(), 1e9);
  for (int i = 0; i < 100; ++i) knee.observe(1, 0.02);
  EXPECT_TRUE(knee.is_known());
  EXPECT_NEAR(knee.requests(), 80, 1);  // of the prior alone
  EXPECT_NEAR(knee.step(1), 0.02, 0.001);
}

TEST(ConcurrencyKnee, a_step_that_does_not_grow_has_no_knee) {
  ConcurrencyKnee knee;
  for (int i = 0; i < 1000; ++i) knee.observe(1 + i % 50, 0.02 - 0.0001 * (i % 50));
  EXPECT_EQ(knee.requests(), 1e9);
}

TEST(ConcurrencyKnee, ignores_what_cannot_be) {
  ConcurrencyKnee knee;
  for (const double step : {0.0, -1.0, std::nan(""), double{INFINITY}}) knee.observe(4, step);
  knee.observe(0, 1);
  knee.observe(std::nan(""), 1);
  EXPECT_EQ(knee.observations(), 0U);
}

}  // namespace
}  // namespace sluice
