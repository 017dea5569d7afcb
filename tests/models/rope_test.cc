#include <gtest/gtest.h>

#include <cmath>

#include "models/layers.h"

namespace sluice {
namespace {

TEST(RopeFrequencies, fall_from_one_by_powers_of_theta) {
  const auto f = rope_frequencies({.theta = 10000}, 64);
  ASSERT_EQ(f.inverse.size(), 32U);
  EXPECT_FLOAT_EQ(f.inverse[0], 1);
  EXPECT_FLOAT_EQ(f.inverse[16], 0.01F);
  EXPECT_EQ(f.attention_factor, 1);
}

TEST(RopeFrequencies, divisors_of_the_file_replace_the_formula) {
  RopeConfig rope{.theta = 10000, .scaling = RopeScaling::kLinear, .factor = 4};
  rope.frequency_divisors = {1, 2, 4, 8};
  const auto f = rope_frequencies(rope, 8);
  EXPECT_FLOAT_EQ(f.inverse[3], std::pow(10000.0F, -0.75F) / 8);
}

TEST(RopeFrequencies, llama3_keeps_short_waves_and_slows_long_ones) {
  const RopeConfig rope{
      .theta = 500000, .scaling = RopeScaling::kLlama3, .factor = 8, .original_context = 8192};
  const auto scaled = rope_frequencies(rope, 128), plain = rope_frequencies({.theta = 500000}, 128);
  EXPECT_EQ(scaled.inverse[0], plain.inverse[0]);
  EXPECT_FLOAT_EQ(scaled.inverse[63], plain.inverse[63] / 8);
}

TEST(RopeFrequencies, yarn_raises_the_attention_factor_with_the_context) {
  const RopeConfig rope{.theta = 10000, .scaling = RopeScaling::kYarn, .factor = 4, .original_context = 4096};
  EXPECT_NEAR(rope_frequencies(rope, 128).attention_factor, 0.1 * std::log(4.0) + 1, 1e-6);
}

}  // namespace
}  // namespace sluice
