// The oracle against numbers worked out by hand or by a formula written another way.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/reference_ops.h"
#include "kernels/reference/sample_row.h"

namespace sluice {
namespace {

TEST(Reference, half_and_interleaved_rope_agree_after_permuting) {
  constexpr int kHead = 8;
  std::array<float, kHead> half{}, interleaved{}, angles{};
  for (int i = 0; i < kHead; ++i) half[static_cast<size_t>(i)] = static_cast<float>(i + 1);
  for (size_t i = 0; i < 4; ++i) {
    interleaved[2 * i] = half[i];
    interleaved[2 * i + 1] = half[i + 4];
    angles[i] = std::cos(0.3F * static_cast<float>(i + 1));
    angles[i + 4] = std::sin(0.3F * static_cast<float>(i + 1));
  }
  reference::rotate(half.data(), kHead, RopeStyle::kHalf, angles.data());
  reference::rotate(interleaved.data(), kHead, RopeStyle::kInterleaved, angles.data());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(half[i], interleaved[2 * i]);
    EXPECT_FLOAT_EQ(half[i + 4], interleaved[2 * i + 1]);
  }
  EXPECT_NEAR(half[0], 1 * std::cos(0.3) - 5 * std::sin(0.3), 1e-5);
}

TEST(Reference, every_cache_type_gives_back_what_was_stored) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    KvView cache{.layout = {.block_tokens = 16, .kv_heads = 2, .head_size = 8, .dtype = dtype},
                 .block_count = 3};
    std::vector<std::byte> memory(cache.layout.block_bytes() * 6);
    cache.keys = memory.data();
    cache.values = memory.data() + cache.layout.block_bytes() * 3;
    const auto element = [](int64_t slot, int head, int d) {
      return static_cast<float>(std::sin(slot * 31 + head * 7 + d));
    };
    std::array<float, 8> head{};
    for (int64_t slot = 0; slot < 48; ++slot) {
      for (int h = 0; h < 2; ++h) {
        for (int d = 0; d < 8; ++d) head[static_cast<size_t>(d)] = element(slot, h, d);
        reference::store_key(cache, slot, h, head.data());
        for (float& v : head) v = -v;
        reference::store_value(cache, slot, h, head.data());
      }
    }
    const float tolerance = dtype == DType::kF32 ? 0 : 1.0F / 128;
    for (int64_t slot = 0; slot < 48; ++slot) {
      for (int h = 0; h < 2; ++h) {
        for (int d = 0; d < 8; ++d) {
          ASSERT_NEAR(reference::load_key(cache, slot, h, d), element(slot, h, d), tolerance)
              << name_of(dtype);
          ASSERT_NEAR(reference::load_value(cache, slot, h, d), -element(slot, h, d), tolerance)
              << name_of(dtype);
        }
      }
    }
  }
}

TEST(Reference, attention_over_one_token_returns_its_value) {
  auto backend = make_reference_backend();
  const AttentionShape shape{.query_heads = 2, .kv_heads = 1, .head_size = 4, .scale = 0.5F};
  std::array<float, 16> qkv{};
  std::iota(qkv.begin(), qkv.end(), 1.0F);
  std::array<float, 8> out{};
  KvView cache{.layout = {.kv_heads = 1, .head_size = 4, .dtype = DType::kF32}, .block_count = 1};
  std::vector<std::byte> memory(cache.layout.block_bytes() * 2);
  cache.keys = memory.data();
  cache.values = memory.data() + cache.layout.block_bytes();
  reference::store_key(cache, 0, 0, qkv.data() + 8);
  reference::store_value(cache, 0, 0, qkv.data() + 12);
  const std::array<int32_t, 1> zero{0}, one{1};
  const std::array<int32_t, 2> start{0, 1};
  const std::array<int64_t, 1> slot{0};
  const StepBatch batch{.token_ids = zero,
                        .positions = zero,
                        .slots = slot,
                        .query_start = start,
                        .context_lengths = one,
                        .block_table = zero,
                        .block_table_stride = 1,
                        .sample_rows = zero};
  backend->attention(batch, shape, TensorView::of(qkv.data(), DType::kF32, 1, 16), cache,
                     TensorView::of(out.data(), DType::kF32, 1, 8));
  for (size_t i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(out[i], qkv[12 + i % 4]);
}

TEST(Reference, greedy_takes_the_lowest_of_equal_logits) {
  const std::array<float, 5> logits{1, 3, 2, 3, 0};
  EXPECT_EQ(reference::sample_row(logits, {.temperature = 0}).id, 1);
}

TEST(Reference, draws_follow_the_distribution_and_the_filters) {
  const std::array<float, 4> logits{std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};
  const auto shares = [&](SamplingRow row) {
    std::array<double, 4> share{};
    for (uint64_t i = 0; i < 20000; ++i) {
      row.draw_index = i;
      share[static_cast<size_t>(reference::sample_row(logits, row).id)] += 1.0 / 20000;
    }
    return share;
  };
  const auto plain = shares({.seed = 1});
  EXPECT_NEAR(plain[0], 0.5, 0.015);
  EXPECT_NEAR(plain[3], 0.05, 0.01);
  const auto top_two = shares({.top_k = 2, .seed = 2});
  EXPECT_NEAR(top_two[0], 0.625, 0.015);
  EXPECT_EQ(top_two[2] + top_two[3], 0);
  const auto nucleus = shares({.top_p = 0.75F, .seed = 3});
  EXPECT_EQ(nucleus[2] + nucleus[3], 0);
  const auto minimum = shares({.min_p = 0.2F, .seed = 4});
  EXPECT_EQ(minimum[3], 0);
  EXPECT_GT(minimum[2], 0.1);
  const auto cold = shares({.temperature = 0.5F, .seed = 5});
  EXPECT_NEAR(cold[0], 0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), 0.015);
}

TEST(Reference, penalties_bias_and_masks_move_the_choice) {
  const std::array<float, 4> logits{2.0F, 1.9F, 1.0F, -1.0F};
  const std::array<int32_t, 2> said{0, 0};
  SamplingRow row{.temperature = 0};
  row.output_tokens = said;
  row.frequency_penalty = 0.1F;
  EXPECT_EQ(reference::sample_row(logits, row).id, 1);
  row.frequency_penalty = 0.04F;
  EXPECT_EQ(reference::sample_row(logits, row).id, 0);
  row.repetition_penalty = 2;
  EXPECT_EQ(reference::sample_row(logits, row).id, 1);
  const std::array<uint32_t, 1> only_last{0b1000};
  EXPECT_EQ(reference::sample_row(logits, {.temperature = 0, .allowed_mask = only_last}).id, 3);
  const std::array<int32_t, 1> ban{0};
  EXPECT_EQ(reference::sample_row(logits, {.temperature = 0, .banned_tokens = ban}).id, 1);
  const std::array<std::pair<int32_t, float>, 1> bias{{{3, 100.0F}}};
  EXPECT_EQ(reference::sample_row(logits, {.temperature = 0, .logit_bias = bias}).id, 3);
}

TEST(Reference, logprobs_are_of_the_raw_logits) {
  const std::array<float, 3> logits{std::log(0.2F), std::log(0.7F), std::log(0.1F)};
  const auto token = reference::sample_row(logits, {.temperature = 0, .logprobs = 2});
  EXPECT_NEAR(token.logprob, std::log(0.7), 1e-5);
  ASSERT_EQ(token.top_logprobs.size(), 2U);
  EXPECT_EQ(token.top_logprobs[1].id, 0);
  EXPECT_NEAR(token.top_logprobs[1].logprob, std::log(0.2), 1e-5);
}

}  // namespace
}  // namespace sluice
