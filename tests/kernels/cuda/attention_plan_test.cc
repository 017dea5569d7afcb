// The plan of a step's attention: that it covers every query row and every key it sees once, within its
// limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "kernels/cuda/attention.h"

namespace sluice::cuda {
namespace {

constexpr AttentionShape kShape{.query_heads = 32, .kv_heads = 8, .head_size = 128, .scale = 1};

AttentionPlan plan_of(const std::vector<std::pair<int, int>>& sequences, const AttentionShape& shape,
                      const PlanOptions& options) {
  std::vector<int32_t> starts = {0}, contexts;
  for (const auto& [context, tokens] : sequences) {
    starts.push_back(starts.back() + tokens);
    contexts.push_back(context);
  }
  AttentionPlan plan;
  plan_attention(starts, contexts, shape, options, plan);
  return plan;
}

TEST(AttentionPlan, gives_few_long_rows_to_the_whole_device) {
  const AttentionPlan one = plan_of({{32768, 1}}, kShape, {.multiprocessors = 132});
  EXPECT_GT(one.decode.size() * 8, 200U);
  EXPECT_LE(one.decode.size() * 8, 2 * 132U);
  // Many rows fill it without splits, and need no room to meet in.
  const AttentionPlan many = plan_of(std::vector(64, std::pair(1025, 1)), kShape, {.multiprocessors = 132});
  EXPECT_EQ(many.decode.size(), 64U);
  EXPECT_EQ(many.partial_rows, 0);
  // Splits are never shorter than is worth their merging.
  EXPECT_EQ(plan_of({{100, 1}}, kShape, {.multiprocessors = 132}).decode.size(), 1U);
}

TEST(AttentionPlan, evens_out_lengths) {
  const AttentionPlan plan = plan_of({{100, 1}, {8000, 1}, {50, 1}}, kShape, {.multiprocessors = 132});
  int longest = 0;
  for (const DecodeWork& work : plan.decode) longest = std::max(longest, work.end_key - work.first_key);
  EXPECT_LE(longest, 8150 * 8 / 264 * 2);
}

TEST(AttentionPlan, prefills_everything_when_deterministic) {
  const PlanOptions options{.multiprocessors = 132, .deterministic = true};
  const AttentionPlan plan = plan_of({{1000, 1}, {5000, 2}, {7, 1}}, kShape, options);
  EXPECT_TRUE(plan.decode.empty());
  EXPECT_EQ(plan.prefill.size(), 3U);
  EXPECT_TRUE(plan_of({{5000, 2}}, kShape, {.multiprocessors = 132}).prefill.empty());
}

TEST(AttentionPlan, begins_with_the_longest_prefill) {
  const AttentionPlan plan = plan_of({{64, 64}, {0, 0}, {4096, 64}, {300, 1}}, kShape, {});
  ASSERT_EQ(plan.prefill.size(), 4U);
  EXPECT_EQ(plan.prefill[0].sequence, 2);
  EXPECT_EQ(plan.prefill[0].first_row, 128);
  EXPECT_EQ(plan.prefill[3].sequence, 0);
  EXPECT_EQ(plan.prefill[3].first_row, 0);
}

TEST(AttentionPlan, covers_every_key_and_row_once_within_its_limits) {
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto up_to = [&](int most) { return static_cast<int>(random() % static_cast<uint32_t>(most)) + 1; };
    const int group = up_to(8), most_context = up_to(seed % 7 == 0 ? 100000 : 3000);
    const AttentionShape shape{.query_heads = 4 * group,
                               .kv_heads = 4,
                               .head_size = seed % 2 == 0 ? 128 : 256,
                               .scale = 1,
                               .sliding_window = seed % 3 == 0 ? up_to(500) : 0};
    const PlanOptions options{.multiprocessors = up_to(150), .deterministic = seed % 5 < 2};
    std::vector<std::pair<int, int>> sequences(static_cast<size_t>(up_to(40)));
    int tokens = 0;
    for (auto& [context, count] : sequences) {
      context = up_to(most_context);
      count = std::min(context, random() % 4 == 0 ? up_to(400) : random() % 4 == 0 ? 0 : 1);
      tokens += count;
    }
    const AttentionPlan plan = plan_of(sequences, shape, options);
    std::map<int, std::vector<DecodeWork>> splits;
    for (const DecodeWork& work : plan.decode) splits[work.sequence].push_back(work);
    std::map<int, std::vector<int>> first_rows;
    for (const PrefillWork& work : plan.prefill) first_rows[work.sequence].push_back(work.first_row);
    int64_t partial_row = 0;
    for (int s = 0; s < static_cast<int>(sequences.size()); ++s) {
      const auto [context, count] = sequences[static_cast<size_t>(s)];
      EXPECT_EQ(splits.count(s) + first_rows.count(s), count > 0 ? 1U : 0U);
      const int seen_first =
          shape.sliding_window > 0 ? std::max(0, context - count - shape.sliding_window + 1) : 0;
      if (splits.contains(s)) {
        EXPECT_LE(count * group, 16);
        int next = seen_first / 16 * 16, split = 0;
        for (const DecodeWork& work : splits[s]) {
          EXPECT_EQ(work.first_key, next);
          EXPECT_LT(work.first_key, work.end_key);
          EXPECT_EQ(work.split, split++);
          EXPECT_EQ(work.splits, splits[s].size());
          if (work.splits > 1) {
            EXPECT_EQ(work.partial_row, partial_row);
          }
          next = work.end_key;
        }
        EXPECT_EQ(next, context);
        if (split > 1) partial_row += int64_t{split} * 4 * group * count;
      }
      if (first_rows.contains(s)) {
        std::vector<int>& rows = first_rows[s];
        std::ranges::sort(rows);
        const int tile = prefill_tile_rows(shape.head_size);
        for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], static_cast<int>(i) * tile);
        EXPECT_EQ(rows.size(), static_cast<size_t>((count * group + tile - 1) / tile));
      }
    }
    EXPECT_EQ(plan.partial_rows, partial_row);
    const PlanLimits limits = plan_limits(static_cast<int>(sequences.size()), tokens, shape, options);
    EXPECT_LE(static_cast<int64_t>(plan.decode.size()), limits.decode_works);
    EXPECT_LE(static_cast<int64_t>(plan.prefill.size()), limits.prefill_works);
    EXPECT_LE(plan.partial_rows, limits.partial_rows);
  }
}

}  // namespace
}  // namespace sluice::cuda
