// Grammars over the C++ door: one compiled, many matchers; wrong ones refused with a sentence, soon.
#include "server/text/grammar.h"

#include <gmock/gmock.h>

#include "tests/server/text/golden_folder.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

class GrammarTest : public testing::Test {
 protected:
  Result<std::shared_ptr<const Grammar>> compile(std::string_view kind, std::string_view source) const {
    return Grammar::compile(tokenizer_, end_, kind, source);
  }
  static bool has(const std::vector<uint32_t>& mask, int32_t id) {
    return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
  }
  std::vector<uint32_t> mask_of(GrammarMatcher& matcher, bool accepting) const {
    std::vector<uint32_t> mask((static_cast<size_t>(tokenizer_->vocabulary()) + 31) / 32);
    const auto filled = matcher.fill_mask(mask);
    EXPECT_TRUE(filled.ok());
    EXPECT_EQ(*filled, accepting);
    return mask;
  }
  int32_t id(std::string_view text) const {
    const auto ids = *tokenizer_->encode(text, false, false);
    EXPECT_EQ(ids.size(), 1U) << text;
    return ids.front();
  }

  std::shared_ptr<const Tokenizer> tokenizer_ = load_or_fail(json_source("smollm"));
  const int32_t end_ = tokenizer_->id_of("<|im_end|>");
};

TEST_F(GrammarTest, gives_every_answer_a_matcher_of_its_own) {
  const auto grammar = compile("regex", "[0-9]{2}");
  ASSERT_TRUE(grammar.ok());
  auto first = *(*grammar)->matcher();
  ASSERT_TRUE(first->accept(id("1")).ok());
  ASSERT_TRUE(first->accept(id("2")).ok());
  auto second = *(*grammar)->matcher();
  EXPECT_TRUE(has(mask_of(*first, true), end_));
  const auto begin = mask_of(*second, false);
  EXPECT_TRUE(has(begin, id("7")));
  EXPECT_FALSE(has(begin, id("a")));
  EXPECT_FALSE(has(begin, end_));
}

TEST_F(GrammarTest, refuses_a_token_that_may_not_come) {
  auto matcher = *(*compile("regex", "[0-9]+"))->matcher();
  EXPECT_FALSE(matcher->accept(id("a")).ok());
}

TEST_F(GrammarTest, refuses_what_cannot_be_a_grammar_with_the_librarys_sentence) {
  const auto refusal = [&](std::string_view kind, std::string_view source) {
    const auto grammar = compile(kind, source);
    EXPECT_FALSE(grammar.ok()) << source;
    if (grammar.ok()) return std::string();
    EXPECT_EQ(grammar.error().code, ErrorCode::kInvalidArgument) << source;
    return grammar.error().message;
  };
  EXPECT_THAT(refusal("regex", "(a"), HasSubstr("unclosed"));
  EXPECT_THAT(refusal("json_schema", R"({"type":"what"})"), HasSubstr("what"));
  EXPECT_THAT(refusal("json_schema", "{"), HasSubstr("json_schema"));
  EXPECT_THAT(refusal("lark", "start: nothing"), HasSubstr("nothing"));
  EXPECT_THAT(refusal("json_schema", R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}})"),
              HasSubstr("matches no text"));
  EXPECT_THAT(refusal("yaml", "a"), HasSubstr("yaml"));
}

TEST_F(GrammarTest, ends_on_hostile_grammars) {
  std::string deep = "{}", wide = R"({"type":"object","properties":{)";
  for (int i = 0; i < 500; ++i) deep = R"({"type":"array","items":)" + deep + "}";
  for (int i = 0; i < 3000; ++i)
    wide += (i > 0 ? ",\"p" : "\"p") + std::to_string(i) + R"(":{"type":"string","pattern":"^(a|b)*c{9}$"})";
  wide += "}}";
  const std::vector<std::pair<std::string, std::string>> hostile{
      {"regex", "(a{1000}){1000}"},
      {"regex", "((((a{100}){100}){100}){100}){100}"},
      {"regex", "(x+x+)+y"},
      {"regex", "((a|b)*c){50000}"},
      {"regex", std::string(100000, '(')},
      {"json_schema", deep},
      {"json_schema", wide},
      {"json_schema", R"({"type":"string","minLength":1000000,"maxLength":2000000})"},
      {"json_schema", R"({"type":"array","items":{"type":"integer"},"minItems":1000000})"},
      {"lark", "start: start start | \"a\""},
      {"lark", "start: a\na: b\nb: a"},
  };
  for (const auto& [kind, source] : hostile) {
    const auto grammar = compile(kind, source);
    if (!grammar.ok()) {
      EXPECT_FALSE(grammar.error().message.empty());
      continue;
    }
    auto matcher = *(*grammar)->matcher();
    std::vector<uint32_t> mask((static_cast<size_t>(tokenizer_->vocabulary()) + 31) / 32);
    for (int i = 0; i < 20; ++i) {  // whatever comes of it, it comes
      if (!matcher->fill_mask(mask).ok() || !matcher->accept(id("a")).ok()) break;
    }
  }
}

}  // namespace
}  // namespace sluice
