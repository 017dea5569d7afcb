#include "server/text/simulated_tokenizer.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice {
namespace {

std::vector<int32_t> encoded(const std::string& text, bool parse_special = true) {
  auto ids = make_simulated_tokenizer()->encode(text, true, parse_special);
  EXPECT_TRUE(ids.ok());
  return std::move(ids).value();
}

std::string decoded(const std::vector<int32_t>& ids) {
  return make_simulated_tokenizer()->decode(ids, false);
}

TEST(SimulatedTokenizer, gives_every_text_back) {
  for (const std::string text :
       {"", " ", "The quick brown fox; 42 = {\"a\": [1, 2]}\n", " kobe lina", "ärger ☃ 漢字 🙂",
        "<|im_start|>user\nHi<|im_end|>", "  two  spaces "})
    EXPECT_EQ(decoded(encoded(text)), text);
}

TEST(SimulatedTokenizer, replaces_what_is_no_utf8) {
  EXPECT_EQ(decoded(encoded("a\xff z")), "a\xef\xbf\xbd z");
}

TEST(SimulatedTokenizer, knows_special_tokens_where_they_may_be) {
  const auto tokenizer = make_simulated_tokenizer();
  EXPECT_EQ(encoded("<|im_end|>"), std::vector{kSimulatedEnd});
  EXPECT_GT(encoded("<|im_end|>", false).size(), 5U);
  EXPECT_EQ(tokenizer->id_of("<|im_end|>"), kSimulatedEnd);
  EXPECT_EQ(tokenizer->decode(std::vector{kSimulatedEnd}, true), "");
}

TEST(SimulatedTokenizer, has_some_three_bytes_of_prose_in_a_token) {
  const std::string prose =
      "what is decided apart from what runs it is a thing that the scheduler knows of no device";
  const double bytes = static_cast<double>(prose.size()) / static_cast<double>(encoded(prose).size());
  EXPECT_GT(bytes, 2.7);
  EXPECT_LT(bytes, 4.0);
}

TEST(SimulatedTokenizer, encodes_an_answer_as_the_tokens_it_was_made_of) {
  const auto words = readable_tokens(*make_simulated_tokenizer());
  ASSERT_EQ(words.size(), 4096U);
  std::mt19937_64 random(7);
  std::vector<int32_t> answer;
  for (int i = 0; i < 300; ++i) answer.push_back(words[random() % words.size()]);
  EXPECT_EQ(encoded(decoded(answer)), answer);
  // Also where a template puts it.
  auto turn = encoded("<|im_start|>assistant\n" + decoded(answer) + "<|im_end|>\n");
  const auto begin = encoded("<|im_start|>assistant\n");
  EXPECT_EQ(std::vector(turn.begin() + static_cast<long>(begin.size()), turn.end() - 2), answer);
}

TEST(SimulatedTokenizer, begins_alike_where_texts_do) {
  std::mt19937_64 random(11);
  const std::string letters = "  abeiklotz.7\n<|";
  for (int round = 0; round < 2000; ++round) {
    std::string common;
    for (int i = 0; i < 60; ++i) common += letters[random() % letters.size()];
    const auto one = encoded(common + "ba be", false), other = encoded(common + "za!", false);
    size_t same = 0, bytes = 0;
    while (same < std::min(one.size(), other.size()) && one[same] == other[same])
      bytes += make_simulated_tokenizer()->token_bytes(one[same++]).size();
    EXPECT_GE(bytes + 5, common.size()) << common;
  }
}

TEST(SimulatedTokenizer, has_a_text_for_each_token_that_it_makes) {
  const auto tokenizer = make_simulated_tokenizer();
  for (int32_t id = 0; id < 256; ++id)
    EXPECT_EQ(tokenizer->token_bytes(id), std::string(1, static_cast<char>(id)));
  for (int32_t id = 272; id < tokenizer->vocabulary(); id += 7) {
    const auto again = encoded(tokenizer->token_bytes(id), false);
    if (again.size() == 1) continue;
    // Ids that encoding never makes: a single letter, or letters behind a gap.
    EXPECT_LE(tokenizer->token_bytes(id).size(), 3U) << id;
  }
  EXPECT_EQ(tokenizer->token_bytes(-1), "");
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->vocabulary()), "");
}

}  // namespace
}  // namespace sluice
