// Grammars against the real library: what they allow the parser of the same format reads back as valid calls.
#include "server/parsers/call_grammar.h"

#include <gtest/gtest.h>

#include "tests/server/parsers/parser_world.h"

namespace sluice {
namespace {

TEST(CallGrammar, is_written_in_the_models_own_format) {
  const std::vector<CallSignature> functions = {{"f", R"({"type": "object"})"}, {"g", "{}"}};
  const auto hermes = dialogue_format("hermes", "none", "");
  const std::string text = call_grammar(*hermes, functions, {.max_calls = 2});
  EXPECT_NE(
      text.find(R"(call_0: "<tool_call>" "\n" "{\"name\": \"f\", \"arguments\": " arguments_0 "}" "\n")"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("calls: call (\"\\n\" call){0,1}\n"), std::string::npos) << text;
  const std::string special =
      call_grammar(*hermes, functions, {.max_calls = 1, .special_marks = {{"<tool_call>", 7}}});
  EXPECT_NE(special.find("call_0: <[7]> "), std::string::npos) << special;
}

}  // namespace
}  // namespace sluice
