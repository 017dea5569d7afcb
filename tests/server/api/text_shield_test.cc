#include "server/api/text_shield.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::string joined(const std::string& rendered, const std::vector<std::string>& covered) {
  std::string out;
  for (const auto& piece : TextShield::uncover(rendered, covered)) {
    out += piece.covered ? "[" + std::string(piece.text) + "]" : std::string(piece.text);
  }
  return out;
}

TEST(TextShield, leaves_ordinary_text_alone) {
  const TextShield shield({"<|im_end|>", "</s>"});
  std::vector<std::string> covered;
  for (const char* text : {"", "hello", "a < b", "<|im_en", "日本語 <|im_end", "</ s>"}) {
    EXPECT_EQ(shield.cover(text, covered), text);
  }
  EXPECT_TRUE(covered.empty());
}

TEST(TextShield, brings_covered_tokens_back_as_text) {
  const TextShield shield({"<|a|>", "<|a|>b", "</s>"});
  std::vector<std::string> covered;
  const std::string one = shield.cover("x<|a|>b</s></s>y", covered);
  const std::string two = shield.cover("<|a|>", covered);
  EXPECT_EQ(one.find("<|a|>"), std::string::npos);
  EXPECT_EQ(covered, (std::vector<std::string>{"<|a|>b", "</s>", "</s>", "<|a|>"}));
  EXPECT_EQ(joined("<s>" + one + "</s>" + two, covered), "<s>x[<|a|>b][</s>][</s>]y</s>[<|a|>]");
}

TEST(TextShield, is_not_fooled_by_marks_of_the_clients_own) {
  const TextShield shield({"</s>"});
  std::vector<std::string> covered;
  const std::string text =
      "\xef\xb7\x90"
      "0\xef\xb7\x91 </s>";
  const std::string safe = shield.cover(text, covered);
  std::string plain;
  for (const auto& piece : TextShield::uncover(safe, covered)) plain += piece.text;
  EXPECT_EQ(plain, text);
  EXPECT_EQ(joined("\xef\xb7\x90"
                   "99\xef\xb7\x91"
                   "a\xef\xb7\x90"
                   "x",
                   covered)
                .find("99"),
            0U);  // a broken mark
}

}  // namespace
}  // namespace sluice
