// llguidance over text_ffi.h: masks of a JSON schema, a regular expression and a Lark grammar.
#include <gmock/gmock.h>

#include "server/text/ffi_call.h"
#include "tests/server/text/golden_folder.h"

namespace sluice {
namespace {

class Matcher : public testing::Test {
 protected:
  Result<SluiceTextMatcher*> make(const char* kind, std::string_view grammar) const {
    return text::call<SluiceTextMatcher*>([&](auto* out, auto* message) {
      return sluice_text_matcher_new(tokenizer_->native(), static_cast<uint32_t>(end_), text::view(kind),
                                     text::view(grammar), out, message);
    });
  }

  // Feeds `text` token by token: every token must be allowed by the mask before it.
  bool accepts(const char* kind, std::string_view grammar, std::string_view text) const {
    auto made = make(kind, grammar);
    EXPECT_TRUE(made.ok()) << made.error().message;
    const text::MatcherHandle matcher(*made);
    const auto ids = *tokenizer_->encode(text, false, false);
    for (const int32_t id : ids) {
      if (!allows(matcher.get(), id)) return false;
      bool finished = false;
      SluiceTextBuffer message{};
      EXPECT_EQ(sluice_text_matcher_consume(matcher.get(), static_cast<uint32_t>(id), &finished, &message),
                0);
    }
    return allows(matcher.get(), end_);
  }

  bool allows(SluiceTextMatcher* matcher, int32_t id) const {
    std::vector<uint32_t> mask((static_cast<size_t>(tokenizer_->vocabulary()) + 31) / 32);
    SluiceTextBuffer message{};
    bool accepting = false;
    EXPECT_EQ(sluice_text_matcher_mask(matcher, mask.data(), mask.size(), &accepting, &message), 0);
    return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
  }

  std::shared_ptr<const Tokenizer> tokenizer_ = load_or_fail(json_source("smollm"));
  const int32_t end_ = tokenizer_->id_of("<|im_end|>");
};

TEST_F(Matcher, a_json_schema_allows_its_instances_and_nothing_else) {
  constexpr std::string_view schema =
      R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
          "required": ["name", "age"], "additionalProperties": false})";
  EXPECT_TRUE(accepts("json_schema", schema, R"({"name": "Zoë", "age": 42})"));
  EXPECT_FALSE(accepts("json_schema", schema, R"({"name": "Zoë"})"));
  EXPECT_FALSE(accepts("json_schema", schema, R"({"name": "Zoë", "age": "42"})"));
  EXPECT_FALSE(accepts("json_schema", schema, "Sure, here"));
}

TEST_F(Matcher, a_regular_expression_allows_its_words) {
  EXPECT_TRUE(accepts("regex", R"([a-z]{3}-\d{2,4})", "abc-123"));
  EXPECT_FALSE(accepts("regex", R"([a-z]{3}-\d{2,4})", "abcd-123"));
  EXPECT_FALSE(accepts("regex", R"([a-z]{3}-\d{2,4})", "abc-1"));
}

TEST_F(Matcher, a_lark_grammar_allows_its_sentences) {
  constexpr std::string_view grammar = "start: \"yes\" | \"no\" NUMBER\nNUMBER: /[0-9]+/\n";
  EXPECT_TRUE(accepts("lark", grammar, "yes"));
  EXPECT_TRUE(accepts("lark", grammar, "no42"));
  EXPECT_FALSE(accepts("lark", grammar, "no"));
}

TEST_F(Matcher, bad_grammars_are_refused_and_good_ones_still_work_after) {
  const std::pair<const char*, std::string> bad[] = {
      {"json_schema", "{"},
      {"json_schema", R"({"type": "nonsense"})"},
      {"regex", "(("},
      {"lark", "start: missing"},
      {"unheard", "x"},
      {"regex", std::string(60000, '(')},
      {"json_schema", std::string(2 << 20, ' ')},
      {"json_schema", R"({"$ref": "http://example.com/schema"})"},
  };
  for (const auto& [kind, grammar] : bad) {
    const auto matcher = make(kind, grammar);
    ASSERT_FALSE(matcher.ok()) << kind << " " << grammar.substr(0, 40);
    EXPECT_EQ(matcher.error().code, ErrorCode::kInvalidArgument) << matcher.error().message;
    EXPECT_FALSE(matcher.error().message.empty());
  }
  EXPECT_TRUE(accepts("regex", "a+", "aaa"));
}

TEST_F(Matcher, costly_grammars_end) {
  for (const char* regex : {"a{99999999}", "(a{1000}){1000}b", "(a|aa)*(a|aa)*(a|aa)*b",
                            "((((.{0,500}){0,500}){0,500}){0,500})c"}) {
    auto made = make("regex", regex);
    if (!made.ok()) continue;  // refused for its size
    const text::MatcherHandle matcher(*made);
    std::vector<uint32_t> mask(32);
    bool accepting = false;
    SluiceTextBuffer message{};
    if (sluice_text_matcher_mask(matcher.get(), mask.data(), mask.size(), &accepting, &message) != 0) {
      EXPECT_NE(text::take(message), "");
    }
  }
}

TEST_F(Matcher, a_token_the_grammar_forbids_is_an_error) {
  const text::MatcherHandle matcher(*make("regex", "a+"));
  bool finished = false;
  SluiceTextBuffer message{};
  const auto wrong = static_cast<uint32_t>(tokenizer_->encode("z", false, false)->front());
  ASSERT_EQ(sluice_text_matcher_consume(matcher.get(), wrong, &finished, &message),
            kSluiceTextInvalidArgument);
  EXPECT_THAT(text::take(message), testing::Not(testing::IsEmpty()));
}

}  // namespace
}  // namespace sluice
