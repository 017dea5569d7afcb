// Token ids and decoded text against transformers, for small tokenizers of every supported kind, from
// tokenizer.json and from the same vocabulary as a GGUF holds it. tests/golden/make_tokenizer_golden.py wrote
// what is expected.
#include "tests/server/text/golden_folder.h"

namespace sluice {
namespace {

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { golden_ = read_golden(GetParam()); }

  void expect_equal(const Tokenizer& tokenizer) const {
    for (const auto& want : golden_.cases) {
      const auto ids = tokenizer.encode(want.text, /*add_special=*/true, /*parse_special=*/true);
      ASSERT_TRUE(ids.ok()) << ids.error().message;
      EXPECT_EQ(*ids, want.ids) << testing::PrintToString(want.text);
      const auto plain = tokenizer.encode(want.text, false, false);
      ASSERT_TRUE(plain.ok()) << plain.error().message;
      EXPECT_EQ(*plain, want.plain) << testing::PrintToString(want.text);
      EXPECT_EQ(tokenizer.decode(want.ids, /*skip_special=*/false), want.decoded);
      EXPECT_EQ(tokenizer.decode(want.ids, /*skip_special=*/true), want.skipped);
    }
  }

  Golden golden_;
};

TEST_P(TokenizerGolden, a_tokenizer_json_gives_the_ids_and_the_text_of_transformers) {
  expect_equal(*load_or_fail(json_source(GetParam())));
}

TEST_P(TokenizerGolden, a_gguf_vocabulary_gives_the_same) {
  expect_equal(*load_or_fail(gguf_source(golden_.gguf)));
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden, testing::ValuesIn(kGoldenNames),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace sluice
