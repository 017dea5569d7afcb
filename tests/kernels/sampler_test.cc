// The linear-time sampler against the reference's full sorts, and against the distribution itself.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/sample_row.h"

namespace sluice {
namespace {

std::vector<float> random_logits(size_t count, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(count);
  for (float& l : logits) l = normal(random);
  return logits;
}

class Sampling : public ::testing::TestWithParam<std::string> {
 protected:
  SampledToken sample(std::vector<float> logits, const SamplingRow& row) {
    SampledToken token;
    cpu_->sample(TensorView::of(logits.data(), DType::kF32, 1, static_cast<int64_t>(logits.size())),
                 {&row, 1}, {&token, 1});
    return token;
  }
  std::unique_ptr<Backend> cpu_ = make_cpu_backend(2, GetParam()).value();
};

INSTANTIATE_TEST_SUITE_P(Isas, Sampling, ::testing::ValuesIn(cpu_isas()),
                         [](const auto& test) { return test.param; });

TEST_P(Sampling, greedy_takes_the_lowest_id_among_the_largest) {
  for (const size_t count : {1U, 5U, 16U, 1000U, 49152U}) {
    std::vector<float> logits = random_logits(count, 1, 3);
    for (const size_t at : {count - 1, count / 2, size_t{0}}) {
      logits[at] = 50;
      EXPECT_EQ(sample(logits, {.temperature = 0}).id, static_cast<int32_t>(at));
    }
  }
}

// Probabilities of the two differ by fp32 rounding of exp, so a draw that falls on a boundary may differ:
// hardly ever.
TEST_P(Sampling, draws_what_the_reference_draws) {
  std::mt19937 random(17);
  int differences = 0;
  constexpr int kDraws = 400;
  for (int i = 0; i < kDraws; ++i) {
    const auto pick = [&](auto... values) {
      const float options[] = {static_cast<float>(values)...};
      return options[random() % (sizeof...(values))];
    };
    SamplingRow row;
    row.temperature = pick(0.1, 0.7, 1, 1.5);
    row.top_k = static_cast<int>(pick(0, 0, 1, 5, 50, 900));
    row.top_p = pick(1, 1, 0.9, 0.5, 0.01, 0.999);
    row.min_p = pick(0, 0, 0.05, 0.5, 1, 1e-6);
    row.seed = random();
    row.draw_index = random() % 10;
    const std::vector<int32_t> prompt = {1, 2, 3, 3, 700}, output = {5, 5, 5, 9, 3};
    const std::vector<std::pair<int32_t, float>> bias = {{8, 3.0F}, {9, -100.0F}};
    const std::vector<int32_t> banned = {0, 13};
    std::vector<uint32_t> mask(32, 0xffffffffU);
    mask[1] = 0x0f0f00ffU, mask[7] = 0;
    row.repetition_penalty = pick(1, 1, 1.3, 0.8);
    row.presence_penalty = pick(0, 0, 0.5, -1);
    row.frequency_penalty = pick(0, 0, 0.7);
    row.prompt_tokens = prompt, row.output_tokens = output;
    if (random() % 3 == 0) row.logit_bias = bias;
    if (random() % 3 == 0) row.banned_tokens = banned;
    if (random() % 3 == 0) row.allowed_mask = mask;
    row.logprobs = static_cast<int>(random() % 4) - 1;
    const std::vector<float> logits = random_logits(1000, pick(0.1, 1, 4), static_cast<uint32_t>(random()));
    const SampledToken got = sample(logits, row), want = reference::sample_row(logits, row);
    if (got.id != want.id) {
      ++differences;
      continue;
    }
    if (row.logprobs < 0) continue;
    EXPECT_NEAR(got.logprob, want.logprob, 1e-4);
    ASSERT_EQ(got.top_logprobs.size(), want.top_logprobs.size());
    for (size_t j = 0; j < want.top_logprobs.size(); ++j) {
      EXPECT_EQ(got.top_logprobs[j].id, want.top_logprobs[j].id);
      EXPECT_NEAR(got.top_logprobs[j].logprob, want.top_logprobs[j].logprob, 1e-4);
    }
  }
  EXPECT_LE(differences, 1);
}

TEST_P(Sampling, reports_a_given_token_without_drawing) {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    SamplingRow row;
    row.given = static_cast<int32_t>(random() % 1000);
    row.logprobs = static_cast<int>(random() % 4) - 1;
    row.temperature = 0.5F;
    const std::vector<float> logits = random_logits(1000, 2, static_cast<uint32_t>(random()));
    const SampledToken got = sample(logits, row), want = reference::sample_row(logits, row);
    ASSERT_EQ(got.id, row.given);
    ASSERT_EQ(got.rank, want.rank);
    ASSERT_EQ(want.rank, 1 + std::count_if(logits.begin(), logits.end(), [&](float l) {
                           return l > logits[static_cast<size_t>(row.given)];
                         }));
    if (row.logprobs < 0) continue;
    EXPECT_NEAR(got.logprob, want.logprob, 1e-4);
    ASSERT_EQ(got.top_logprobs.size(), static_cast<size_t>(row.logprobs));
  }
}

// Chi-square of 40,000 draws over 50 tokens; the 1 - 1e-6 quantile of 49 degrees of freedom is 113.
TEST_P(Sampling, follows_the_distribution) {
  const std::vector<float> logits = random_logits(50, 1, 5);
  double total = 0;
  for (const float l : logits) total += std::exp(static_cast<double>(l) / 0.8);
  constexpr int kDraws = 40000;
  std::vector<int> counts(50);
  for (int i = 0; i < kDraws; ++i) {
    ++counts[static_cast<size_t>(
        sample(logits, {.temperature = 0.8F, .seed = 9, .draw_index = static_cast<uint64_t>(i)}).id)];
  }
  double chi_square = 0;
  for (size_t v = 0; v < 50; ++v) {
    const double expected = kDraws * std::exp(static_cast<double>(logits[v]) / 0.8) / total;
    chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
  }
  EXPECT_LT(chi_square, 113);
}

TEST_P(Sampling, a_draw_depends_on_its_seed_and_index_alone) {
  const std::vector<float> logits = random_logits(2000, 2, 5);
  std::vector<float> many;
  std::vector<SamplingRow> rows;
  std::vector<SampledToken> tokens(30);
  for (uint64_t i = 0; i < 30; ++i) {
    many.insert(many.end(), logits.begin(), logits.end());
    rows.push_back(
        {.temperature = 1, .top_p = i % 2 == 0 ? 1.0F : 0.95F, .seed = i % 5, .draw_index = i / 5});
  }
  cpu_->sample(TensorView::of(many.data(), DType::kF32, 30, 2000), rows, tokens);
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(tokens[i].id, sample(logits, rows[i]).id);
  std::map<int32_t, int> different;
  for (uint64_t i = 0; i < 30; ++i) ++different[sample(logits, {.seed = 3, .draw_index = i}).id];
  EXPECT_GT(different.size(), 10U);
}

TEST_P(Sampling, survives_degenerate_logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& logits :
       {std::vector<float>(40, -kInfinity), std::vector<float>(40, nan),
        std::vector<float>{0, kInfinity, 1, nan}, std::vector<float>(40, 3e38F)}) {
    for (const float temperature : {0.0F, 1.0F}) {
      const int32_t id =
          sample(logits, {.temperature = temperature, .top_k = 3, .top_p = 0.9F, .logprobs = 2}).id;
      EXPECT_GE(id, 0);
      EXPECT_LT(id, static_cast<int32_t>(logits.size()));
    }
  }
}

}  // namespace
}  // namespace sluice
