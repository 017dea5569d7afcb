#include "router/core/reuse_curve.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/hash.h"

namespace sluice::router {
namespace {

std::vector<uint64_t> pieces_of(uint64_t prompt, size_t count) {
  std::vector<uint64_t> pieces;
  for (size_t i = 0; i < count; ++i) pieces.push_back(hash_combine(prompt, i));
  return pieces;
}

TEST(ReuseCurve, knows_nothing_at_first_and_nothing_of_what_is_never_evicted) {
  ReuseCurve curve;
  EXPECT_EQ(curve.after(1), 0);
  const auto pieces = pieces_of(1, 160);
  for (int i = 0; i < 100; ++i) curve.used(pieces, i);
  EXPECT_EQ(curve.after(kNever), 0);
}

TEST(ReuseCurve, what_is_always_used_again_is_worth_keeping_however_long_it_was_idle) {
  ReuseCurve curve;
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(1);
  double now = 0;
  for (int i = 0; i < 40'000; ++i) curve.used(pieces_of(random() % 100, 32), now += gap(random));
  for (const double idle : {1.0, 30.0, 100.0}) EXPECT_GT(curve.after(idle), 0.9) << idle;
}

// Half of the prompts come back once, after 10 to 20 seconds; the others never.
TEST(ReuseCurve, is_the_share_of_those_idle_so_long_that_came_back) {
  ReuseCurve curve;
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> later(10, 20);
  std::multimap<double, uint64_t> uses;
  for (int i = 0; i < 20'000; ++i) {
    uses.emplace(i * 0.1, i);
    if (i % 2 == 0) uses.emplace(i * 0.1 + later(random), i);
  }
  for (const auto& [at, prompt] : uses) curve.used(pieces_of(prompt, 32), at);
  // Two of three spells begin with a prompt's first use; half of these end with another.
  EXPECT_NEAR(curve.after(5), 1.0 / 3, 0.05);
  EXPECT_LT(curve.after(40), 0.05);
}

TEST(ReuseCurve, forgets) {
  ReuseCurve curve;
  double now = 0;
  for (int i = 0; i < 20'000; ++i) curve.used(pieces_of(i % 50, 32), now += 1);
  EXPECT_GT(curve.after(10), 0.9);
  for (int i = 0; i < 200'000; ++i) curve.used(pieces_of(1000 + i, 32), now += 0.01);
  EXPECT_LT(curve.after(10), 0.1);
}

}  // namespace
}  // namespace sluice::router
