#include "bench/serve/lexicon.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <map>
#include <sstream>

namespace sluice::bench {
namespace {

// A tokenizer of whole words, but for those of five letters or more, which are two tokens.
class WordTokenizer {
 public:
  std::vector<int32_t> operator()(const TokenQuestion& question) {
    std::vector<int32_t> ids;
    if (question.adds_special) ids.push_back(0);
    if (question.is_chat) ids.insert(ids.end(), {1, 2, 3, 4});
    std::istringstream words(question.text);
    for (std::string word; words >> word;) {
      if (word.size() >= 5) {
        ids.push_back(id_of(word.substr(0, 3)));
        word = "##" + word.substr(3);
      }
      ids.push_back(id_of(word));
    }
    return ids;
  }

 private:
  int32_t id_of(const std::string& piece) {
    return known_.try_emplace(piece, static_cast<int32_t>(known_.size() + 10)).first->second;
  }
  std::map<std::string, int32_t> known_;
};

TEST(FitLexicon, keeps_words_of_one_token_and_counts_what_is_added) {
  WordTokenizer tokenize;
  const auto lexicon = fit_lexicon([&](const TokenQuestion& question) { return tokenize(question); });
  ASSERT_TRUE(lexicon.ok()) << lexicon.error().message;
  EXPECT_TRUE(lexicon->is_exact());
  EXPECT_EQ(lexicon->plain_overhead, 1u);
  EXPECT_EQ(lexicon->chat_overhead, 5u);
  std::string text, ids;
  lexicon->append_words({.seed = 9, .tokens = 333}, text);
  lexicon->append_ids({.seed = 9, .tokens = 333}, ids);
  const auto tokens = tokenize({.text = text});
  ASSERT_EQ(tokens.size(), 333u);
  std::string joined;
  for (const int32_t id : tokens) joined += (joined.empty() ? "" : ",") + std::to_string(id);
  EXPECT_EQ(joined, ids);  // the same prompt, either way
}

TEST(FitLexicon, gives_up_on_a_tokenizer_of_bytes) {
  const auto lexicon = fit_lexicon([](const TokenQuestion& question) -> Result<std::vector<int32_t>> {
    return std::vector<int32_t>(question.text.begin(), question.text.end());
  });
  EXPECT_FALSE(lexicon.ok());
}

TEST(FitLexicon, gives_up_where_words_run_together) {
  WordTokenizer tokenize;
  const auto lexicon = fit_lexicon([&](const TokenQuestion& question) -> Result<std::vector<int32_t>> {
    auto ids = tokenize(question);
    if (question.text.size() < 7000) ids.resize(ids.size() / 2);  // the trial, which is shorter
    return ids;
  });
  EXPECT_FALSE(lexicon.ok());
  EXPECT_FALSE(Lexicon::from_doubled(std::vector<int32_t>{1, 1, 2}));
}

}  // namespace
}  // namespace sluice::bench
