#include <random>

#include "server/text/tokenizer.h"
#include "tests/server/text/golden_folder.h"

namespace sluice {
namespace {

// A vocabulary of given byte strings.
class ListedTokens final : public Tokenizer {
 public:
  explicit ListedTokens(std::vector<std::string> tokens, Decoding decoding = {})
      : tokens_(std::move(tokens)), decoding_(decoding) {}
  Result<std::vector<int32_t>> encode(std::string_view, bool, bool) const override {
    return std::vector<int32_t>();
  }
  std::string decode(std::span<const int32_t>, bool) const override { return {}; }
  std::string token_bytes(int32_t id) const override { return tokens_.at(static_cast<size_t>(id)); }
  bool is_special(int32_t id) const override { return token_bytes(id).starts_with("<|"); }
  int32_t id_of(std::string_view) const override { return -1; }
  int32_t vocabulary() const override { return static_cast<int32_t>(tokens_.size()); }
  Decoding decoding() const override { return decoding_; }

 private:
  const std::vector<std::string> tokens_;
  const Decoding decoding_;
};

std::unique_ptr<Detokenizer> over(std::vector<std::string> tokens, Detokenizer::Options options = {},
                                  Decoding decoding = {}) {
  return Detokenizer::make(std::make_shared<ListedTokens>(std::move(tokens), decoding), std::move(options));
}

std::string push_all(Detokenizer& detokenizer, std::span<const int32_t> ids) {
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

bool is_utf8(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) ==
         nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
}

std::string in_one_piece(const std::string& text, const std::vector<std::string>& stops, std::string& met) {
  size_t best_end = std::string::npos, best_start = 0;
  for (const auto& stop : stops) {
    const size_t start = text.find(stop);
    if (start == std::string::npos) continue;
    const size_t end = start + stop.size();
    if (end < best_end || (end == best_end && start < best_start)) {
      best_end = end;
      best_start = start;
      met = stop;
    }
  }
  return best_end == std::string::npos ? text : text.substr(0, best_start);
}

TEST(Detokenizer, random_tokens_give_in_pieces_what_decode_gives_at_once) {
  for (const char* name : kGoldenNames) {
    const auto tokenizer = load_or_fail(json_source(name));
    std::mt19937 random(3);
    for (int round = 0; round < 300; ++round) {
      std::vector<int32_t> ids(random() % 40);
      for (auto& id : ids)
        id = static_cast<int32_t>(random() % static_cast<unsigned>(tokenizer->vocabulary() + 5)) - 2;
      const bool skip_special = round % 2 == 0;
      const auto detokenizer = Detokenizer::make(tokenizer, {.skip_special = skip_special});
      std::string text;
      for (const int32_t id : ids) {
        const std::string piece = detokenizer->push(id);
        EXPECT_TRUE(is_utf8(piece)) << name << " round " << round;
        text += piece;
      }
      EXPECT_EQ(text + detokenizer->finish(), tokenizer->decode(ids, skip_special))
          << name << " round " << round;
    }
  }
}

TEST(Detokenizer, random_stop_strings_end_the_text_where_it_first_holds_one_however_it_is_cut) {
  std::mt19937 random(4);
  const auto word = [&](unsigned longest) {
    std::string text;
    for (unsigned n = 1 + random() % longest; n > 0; --n) text += "aab\xC3\xA9"[random() % 3];
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> tokens(6), stops(1 + random() % 3);
    for (auto& token : tokens) token = word(4);
    for (auto& stop : stops) stop = word(5);
    std::vector<int32_t> ids(random() % 12);
    std::string whole;
    for (auto& id : ids)
      whole += tokens[static_cast<size_t>(id = static_cast<int32_t>(random() % tokens.size()))];
    std::string met;
    const std::string want = in_one_piece(whole, stops, met);
    const auto detokenizer = over(tokens, {.stop = stops});
    EXPECT_EQ(push_all(*detokenizer, ids), want) << whole;
    EXPECT_EQ(detokenizer->stopped(), !met.empty());
    EXPECT_EQ(detokenizer->stop_string(), met);
  }
}

TEST(Detokenizer, holds_back_a_character_until_it_is_whole) {
  const auto detokenizer = over({"\xF0\x9F", "\x91", "\x8B", "x"});
  const int32_t wave[] = {0, 1, 2, 3};
  EXPECT_EQ(detokenizer->push(wave[0]), "");
  EXPECT_EQ(detokenizer->push(wave[1]), "");
  EXPECT_EQ(detokenizer->push(wave[2]), "\xF0\x9F\x91\x8B");
  EXPECT_EQ(detokenizer->push(wave[3]), "x");
  EXPECT_EQ(detokenizer->finish(), "");
}

TEST(Detokenizer, what_never_becomes_a_character_is_replaced_at_the_end) {
  const auto detokenizer = over({"a\xE4\xBD"});
  EXPECT_EQ(detokenizer->push(0), "a");
  EXPECT_EQ(detokenizer->finish(), "\xEF\xBF\xBD");
}

TEST(Detokenizer, holds_back_only_what_may_begin_a_stop_string) {
  const auto detokenizer = over({"one E", "N", "x", "END", "more"}, {.stop = {"END"}});
  EXPECT_EQ(detokenizer->push(0), "one ");
  EXPECT_EQ(detokenizer->push(1), "");
  EXPECT_EQ(detokenizer->push(2), "ENx");
  EXPECT_EQ(detokenizer->push(3), "");
  EXPECT_TRUE(detokenizer->stopped());
  EXPECT_EQ(detokenizer->stop_string(), "END");
  EXPECT_EQ(detokenizer->push(4), "");
  EXPECT_EQ(detokenizer->finish(), "");
}

TEST(Detokenizer, sends_the_held_back_beginning_when_the_answer_ends) {
  const auto detokenizer = over({"so E", "N"}, {.stop = {"END"}});
  const int32_t ids[] = {0, 1};
  EXPECT_EQ(push_all(*detokenizer, ids), "so EN");
  EXPECT_FALSE(detokenizer->stopped());
}

TEST(Detokenizer, includes_the_stop_string_when_asked) {
  const auto detokenizer = over({"one E", "ND two"}, {.stop = {"END"}, .include_stop = true});
  const int32_t ids[] = {0, 1};
  EXPECT_EQ(push_all(*detokenizer, ids), "one END");
}

TEST(Detokenizer, shows_special_tokens_only_when_asked) {
  const int32_t ids[] = {0, 1};
  EXPECT_EQ(push_all(*over({"a", "<|end|>"}), ids), "a");
  EXPECT_EQ(push_all(*over({"a", "<|end|>"}, {.skip_special = false}), ids), "a<|end|>");
}

TEST(Detokenizer, drops_the_decoders_leading_space_unless_the_text_goes_on) {
  const int32_t ids[] = {0, 0};
  const Decoding sentence_piece{.strip_leading_spaces = 1};
  EXPECT_EQ(push_all(*over({" word"}, {}, sentence_piece), ids), "word word");
  EXPECT_EQ(push_all(*over({" word"}, {.continues_text = true}, sentence_piece), ids), " word word");
  EXPECT_EQ(push_all(*over({"  two"}, {}, sentence_piece), ids), " two  two");
}

TEST(Detokenizer, ids_beyond_the_vocabulary_add_nothing) {
  const int32_t ids[] = {0, 7, -1, 0};
  EXPECT_EQ(push_all(*over({"a"}), ids), "aa");
}

TEST(Detokenizer, a_long_repetitive_stop_string_costs_no_more_than_its_text) {
  const std::string run(100000, 'a');
  const auto detokenizer = over({std::string(1000, 'a'), "b"}, {.stop = {run + "b"}});
  std::string text;
  for (int i = 0; i < 1000; ++i) text += detokenizer->push(0);
  EXPECT_EQ(text.size(), 900000U);
  EXPECT_EQ(detokenizer->push(1), "");
  EXPECT_TRUE(detokenizer->stopped());
}

}  // namespace
}  // namespace sluice
