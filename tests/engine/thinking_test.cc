#include "engine/thinking.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

// What comes out when the model would say `sampled`.
std::vector<int32_t> told(const ThinkingBudget& budget, const std::vector<int32_t>& sampled) {
  Thinking thinking;
  std::vector<int32_t> output;
  for (const int32_t id : sampled) output.push_back(thinking.next(budget, output, id));
  return output;
}

using Ids = std::vector<int32_t>;
const Ids kBegin = {1, 2}, kEnd = {7, 8, 9};

TEST(Thinking, ends_a_block_that_the_prompt_opened) {
  const ThinkingBudget budget{2, true, kBegin, kEnd};
  EXPECT_EQ(told(budget, {50, 51, 52, 53, 54, 55, 56}), (Ids{50, 51, 7, 8, 9, 55, 56}));
  EXPECT_EQ(told({0, true, kBegin, kEnd}, {50, 51, 52, 53}), (Ids{7, 8, 9, 53}));
}

TEST(Thinking, ends_a_block_that_the_answer_opened) {
  EXPECT_EQ(told({1, false, kBegin, kEnd}, {40, 1, 2, 50, 51, 52, 53, 54}), (Ids{40, 1, 2, 50, 7, 8, 9, 54}));
}

TEST(Thinking, leaves_alone_what_ends_in_time_or_never_begins) {
  for (const Ids& ids : {Ids{50, 7, 8, 9, 60, 61, 62, 63}, Ids{7, 8, 9, 1, 2, 60, 61, 62, 63, 64}})
    EXPECT_EQ(told({4, true, kBegin, kEnd}, ids), ids);
  const Ids plain = {30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 1, 2, 42, 43, 44};
  EXPECT_EQ(told({0, false, kBegin, kEnd}, plain), plain);
  EXPECT_EQ(told({-1, true, kBegin, kEnd}, plain), plain);
  EXPECT_EQ(told({0, true, kBegin, {}}, plain), plain);
}

TEST(Thinking, completes_an_end_mark_that_has_begun) {
  EXPECT_EQ(told({2, true, kBegin, kEnd}, {50, 7, 60, 61, 62}), (Ids{50, 7, 8, 9, 62}));
}

}  // namespace
}  // namespace sluice
