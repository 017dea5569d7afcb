#include "engine/step_pacer.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(StepPacer, without_a_target_every_step_may_use_the_whole_budget) {
  StepPacer pacer(0, 512, 16);
  for (int i = 0; i < 10; ++i) pacer.step_took(1.0, 500, 4);
  EXPECT_EQ(pacer.prefill_limit(), 512);
}

TEST(StepPacer, shrinks_chunks_until_steps_meet_the_target) {
  constexpr double kBase = 0.010, kPerToken = 0.001;
  StepPacer pacer(50, 512, 16);
  for (int i = 0; i < 50; ++i) {
    pacer.step_took(kBase, 0, 8);
    const int chunk = pacer.prefill_limit();
    pacer.step_took(kBase + kPerToken * chunk, chunk, 8);
  }
  EXPECT_NEAR(pacer.prefill_limit(), 40, 3);  // (50 ms - 10 ms) / 1 ms
}

TEST(StepPacer, never_stops_prompts_even_when_decodes_alone_miss_the_target) {
  StepPacer pacer(5, 512, 16);
  for (int i = 0; i < 10; ++i) {
    pacer.step_took(0.020, 0, 8);
    pacer.step_took(0.120, 100, 8);
  }
  EXPECT_EQ(pacer.prefill_limit(), 16);
}

}  // namespace
}  // namespace sluice
