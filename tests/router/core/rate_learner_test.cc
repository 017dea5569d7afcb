#include "router/core/rate_learner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace sluice::router {
namespace {

uint32_t prompt(std::mt19937_64& random) {
  return static_cast<uint32_t>(std::exp(std::uniform_real_distribution(5.0, 11.0)(random)));
}

TEST(RateLearner, learns_weights_and_attention_from_noisy_times) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    RateLearner learner;
    const PrefillRate truth{1.0 / (1000 + static_cast<double>(random() % 30'000)),
                            1e-10 * static_cast<double>(1 + random() % 30)};
    std::lognormal_distribution<double> noise(0, 0.1);
    for (int i = 0; i < 300; ++i) {
      const auto work = PrefillWork::of(prompt(random), prompt(random));
      learner.observe_prefill(work, truth.seconds(work) * noise(random));
    }
    for (const uint32_t tokens : {1000U, 8000U, 60'000U}) {
      const auto work = PrefillWork::of(tokens, tokens / 2);
      EXPECT_NEAR(learner.prefill().seconds(work) / truth.seconds(work), 1, 0.2)
          << "seed " << seed << " " << tokens;
    }
  }
}

// Two kinds of prompts, and what is slow about the second is no attention: small steps, memory.
TEST(RateLearner, attention_cannot_explain_everything) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    RateLearner learner;
    std::lognormal_distribution<double> noise(0, 0.3);
    for (int i = 0; i < 300; ++i) {
      const auto whole = PrefillWork::of(1200, 0), rest = PrefillWork::of(1200, 6000);
      learner.observe_prefill(i % 2 == 0 ? whole : rest, (i % 2 == 0 ? 0.02 : 0.3) * noise(random));
      EXPECT_LT(1 / learner.prefill().token_seconds, 100'000) << "seed " << seed;
    }
  }
}

TEST(RateLearner, a_hiccup_does_not_make_a_replica_slow) {
  RateLearner learner;
  const PrefillRate truth{1.0 / 10'000, 0};
  const auto work = PrefillWork::of(4000, 0);
  for (int i = 0; i < 100; ++i) learner.observe_prefill(work, i % 20 == 19 ? 60 : truth.seconds(work));
  EXPECT_NEAR(learner.prefill().seconds(work) / truth.seconds(work), 1, 0.2);
}

TEST(RateLearner, follows_a_replica_that_became_slow) {
  RateLearner learner;
  const auto work = PrefillWork::of(4000, 0);
  for (int i = 0; i < 100; ++i) learner.observe_prefill(work, 0.4);
  for (int i = 0; i < 100; ++i) learner.observe_prefill(work, 4.0);
  EXPECT_NEAR(learner.prefill().seconds(work), 4.0, 0.4);
}

TEST(RateLearner, ignores_times_that_cannot_be) {
  RateLearner learner;
  const double before = learner.prefill().token_seconds;
  learner.observe_prefill(PrefillWork::of(4000, 0), 0);
  learner.observe_prefill(PrefillWork::of(4000, 0), -1);
  learner.observe_prefill(PrefillWork::of(4000, 0), std::nan(""));
  learner.observe_prefill(PrefillWork::of(4000, 0), INFINITY);
  learner.observe_prefill(PrefillWork::of(0, 0), 1);
  learner.observe_decode_step(std::nan(""));
  EXPECT_EQ(learner.prefill().token_seconds, before);
  EXPECT_EQ(learner.observations(), 0U);
  EXPECT_TRUE(std::isfinite(learner.decode_step()));
}

}  // namespace
}  // namespace sluice::router
