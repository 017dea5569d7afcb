// What PackedSampling writes: one run of bytes, everything where the rows say, nothing that is not needed.
#include "kernels/cuda/sampling_rows.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/random.h"

namespace sluice::cuda {
namespace {

class Pack {
 public:
  Pack(const std::vector<SamplingRow>& rows, int vocabulary) : packed_(rows, vocabulary) {
    words_.assign(packed_.bytes() / 4 + 8, 0xabababab);
    packed_.write(std::as_writable_bytes(std::span(words_)));
  }
  DeviceSamplingRow row(size_t r) const {
    DeviceSamplingRow row;
    std::memcpy(&row, reinterpret_cast<const std::byte*>(words_.data()) + r * sizeof row, sizeof row);
    return row;
  }
  std::vector<int32_t> ids(uint32_t word, int32_t count) const {
    return {words_.begin() + word, words_.begin() + word + count};
  }
  const PackedSampling& operator*() const { return packed_; }
  bool kept_to_its_bytes() const {
    return std::all_of(words_.end() - 8, words_.end(), [](uint32_t w) { return w == 0xabababab; });
  }
  uint32_t word(size_t at) const { return words_.at(at); }

 private:
  PackedSampling packed_;
  std::vector<uint32_t> words_;
};

const std::vector<int32_t> kPrompt = {1, 2, 3, 4, 5}, kOutput = {9, 9, 7}, kBanned = {11, 12};
const std::vector<std::pair<int32_t, float>> kBias = {{8, 1.5F}, {3, -2.0F}, {8, 0.25F}};
const std::vector<uint32_t> kMask = {0xf0f0f0f0, 0xffffffff, 0x1, 0x77777777};

TEST(PackedSampling, writes_every_list_where_its_row_says) {
  const SamplingRow plain{.temperature = 0};
  const SamplingRow full{.temperature = 0.5F,
                         .top_k = 4,
                         .repetition_penalty = 1.1F,
                         .frequency_penalty = 0.2F,
                         .seed = 3,
                         .draw_index = 8,
                         .logprobs = 2,
                         .prompt_tokens = kPrompt,
                         .output_tokens = kOutput,
                         .logit_bias = kBias,
                         .banned_tokens = kBanned,
                         .allowed_mask = kMask};
  const Pack pack({plain, full, full}, 70);  // three words of mask: the fourth is not the row's
  EXPECT_TRUE(pack.kept_to_its_bytes());
  EXPECT_TRUE((*pack).draws());
  EXPECT_EQ((*pack).listed(), 2 * (5U + 3U + 3U));
  EXPECT_EQ(pack.row(0).listed, -1);
  EXPECT_EQ(pack.row(0).mask_word, 0U);
  for (const size_t r : {1U, 2U}) {
    const DeviceSamplingRow row = pack.row(r);
    EXPECT_EQ(row.uniform, random_uniform(3, 8));
    EXPECT_EQ(row.top_k, 4);
    EXPECT_EQ(row.frequency_penalty, 0.2F);
    EXPECT_EQ(row.listed, r == 1 ? 0 : 11);
    EXPECT_EQ(row.output_count, 3);
    EXPECT_EQ(row.prompt_count, 5);
    EXPECT_EQ(row.penalised_word % 4, 0U);
    EXPECT_EQ(pack.ids(row.penalised_word, 8), (std::vector<int32_t>{9, 9, 7, 1, 2, 3, 4, 5}));
    EXPECT_EQ(pack.ids(row.banned_word, row.banned_count), kBanned);
    EXPECT_EQ(row.bias_count, 2);  // both of token 8 together
    EXPECT_EQ(pack.word(row.bias_word), 3U);
    EXPECT_EQ(pack.word(row.bias_word + 1), std::bit_cast<uint32_t>(-2.0F));
    EXPECT_EQ(pack.word(row.bias_word + 2), 8U);
    EXPECT_EQ(pack.word(row.bias_word + 3), std::bit_cast<uint32_t>(1.75F));
    for (uint32_t w = 0; w < 3; ++w) EXPECT_EQ(pack.word(row.mask_word + w), kMask[w]);
  }
}

TEST(PackedSampling, leaves_out_what_makes_no_difference) {
  // Without a penalty no tokens; without repetition_penalty not the prompt's; with `given` nothing.
  const SamplingRow idle{.prompt_tokens = kPrompt, .output_tokens = kOutput};
  const SamplingRow presence{.presence_penalty = 1, .prompt_tokens = kPrompt, .output_tokens = kOutput};
  SamplingRow given = presence;
  given.given = 5, given.allowed_mask = kMask, given.logit_bias = kBias;
  const Pack pack({idle, presence, given}, 70);
  EXPECT_EQ(pack.row(0).output_count + pack.row(0).prompt_count, 0);
  EXPECT_EQ(pack.row(1).output_count, 3);
  EXPECT_EQ(pack.row(1).prompt_count, 0);
  EXPECT_EQ(pack.row(2).output_count + pack.row(2).bias_count, 0);
  EXPECT_EQ(pack.row(2).mask_word, 0U);
  EXPECT_EQ(pack.row(2).given, 5);
  EXPECT_EQ((*pack).listed(), 0U);  // nobody asked for logprobs
}

TEST(PackedSampling, says_whether_anything_is_drawn) {
  const SamplingRow greedy{.temperature = 0}, cold{.temperature = 0.9e-5F}, given{.given = 3};
  EXPECT_FALSE(PackedSampling(std::vector{greedy, cold, given}, 10).draws());
  EXPECT_TRUE(PackedSampling(std::vector{greedy, SamplingRow{}}, 10).draws());
}

TEST(PackedSampling, refuses_more_logprobs_than_there_is_room_for) {
  EXPECT_DEATH(PackedSampling(std::vector{SamplingRow{.logprobs = kMaxTopLogprobs + 1}}, 10), "logprobs");
}

}  // namespace
}  // namespace sluice::cuda
