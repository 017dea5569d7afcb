// Tools and reasoning as a chat request has them.
#include "server/wire/dialogue_fields.h"

#include <gtest/gtest.h>

#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

using testing::chat;
using Choice = ToolFields::Choice;

std::string with(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"x"}],)" + fields + "}";
}
std::string function(const std::string& name, const std::string& more = "") {
  return R"({"type":"function","function":{"name":")" + name + "\"" + more + "}}";
}

TEST(ToolFields, read_the_functions_and_the_choice) {
  const auto two = chat(with("\"tools\":[" + function("a", R"(,"strict":true)") + "," +
                             function("b-1.x", R"(,"parameters":{"properties":{}})") + "]"));
  ASSERT_TRUE(two.ok()) << two.error().message;
  EXPECT_EQ(two->tools.choice, Choice::kAuto);
  ASSERT_EQ(two->tools.functions.size(), 2U);
  EXPECT_TRUE(two->tools.functions[0].strict);
  EXPECT_EQ(two->tools.functions[0].parameters,
            R"({"type":"object","properties":{},"additionalProperties":false})");
  EXPECT_EQ(two->tools.functions[1].parameters,
            R"({"type":"object","properties":{},"additionalProperties":false})");
  EXPECT_TRUE(two->tools.parallel);
  const auto named =
      chat(with("\"parallel_tool_calls\":false,\"tools\":[" + function("a") + "," + function("b") +
                R"(],"tool_choice":{"type":"function","function":{"name":"b"}})"));
  EXPECT_EQ(named->tools.choice, Choice::kNamed);
  ASSERT_EQ(named->tools.functions.size(), 1U);
  EXPECT_EQ(named->tools.functions[0].name, "b");
  EXPECT_FALSE(named->tools.parallel);
  EXPECT_NE(named->template_variables.find("\"a\""), std::string::npos);  // the template sees all
  EXPECT_EQ(chat(with("\"tools\":[" + function("a") + R"(],"tool_choice":"required")"))->tools.choice,
            Choice::kRequired);
  for (const char* none :
       {R"("tools":[])", R"("tools":null,"tool_choice":"auto")", R"("tool_choice":"none")"}) {
    const auto read = chat(with(none));
    ASSERT_TRUE(read.ok()) << none;
    EXPECT_EQ(read->tools.choice, Choice::kNone);
    EXPECT_EQ(read->template_variables.find("tools"), std::string::npos);
  }
}

TEST(ToolFields, refuse_what_cannot_be_meant) {
  std::string many = function("f0");
  for (int i = 1; i <= 256; ++i) many += "," + function("f" + std::to_string(i));
  const std::string big = function("f", R"(,"description":")" + std::string(300000, 'x') + "\"");
  for (const std::string& bad : {
           "\"tools\":[" + function("a") + "," + function("a") + "]",
           "\"tools\":[" + function("") + "]",
           "\"tools\":[" + function("a b") + "]",
           "\"tools\":[" + function(std::string(65, 'a')) + "]",
           "\"tools\":[" + function("a", R"(,"parameters":5)") + "]",
           "\"tools\":[" + function("a", R"(,"parameters":{"type":"array"})") + "]",
           "\"tools\":[" + many + "]",
           "\"tools\":[" + big + "]",
           "\"tools\":[" + function("a") + R"(],"tool_choice":{"type":"function"})",
           "\"tools\":[" + function("a") + R"(],"tool_choice":{"type":"function","function":{"name":"b"}})",
           "\"tools\":[" + function("a") + R"(],"tool_choice":5)",
           std::string(R"("tools":[{"type":"custom","custom":{"name":"a"}}])"),
           std::string(R"("tool_choice":"required")"),
       }) {
    const auto read = chat(with(bad));
    ASSERT_FALSE(read.ok()) << bad.substr(0, 200);
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(read.error().param.starts_with("tool")) << read.error().param;
  }
}

TEST(ReasoningFields, reach_the_template_and_the_budget) {
  const auto all = chat(with(R"("reasoning_effort":"high","enable_thinking":true,"thinking_token_budget":7,)"
                             R"("include_reasoning":false)"));
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_NE(all->template_variables.find(R"(,"reasoning_effort":"high","enable_thinking":true)"),
            std::string::npos);
  EXPECT_EQ(all->reasoning.budget_tokens, 7);
  EXPECT_FALSE(all->reasoning.include);
  const auto off = chat(with(R"("thinking":{"type":"disabled"})"));
  EXPECT_NE(off->template_variables.find(R"("enable_thinking":false)"), std::string::npos);
  EXPECT_EQ(chat(with(R"("thinking":{"type":"enabled","budget_tokens":9})"))->reasoning.budget_tokens, 9);
  EXPECT_NE(chat(with(R"("reasoning_effort":"none")"))->template_variables.find(R"("enable_thinking":false)"),
            std::string::npos);
  for (const char* bad :
       {R"("reasoning_effort":"huge")", R"("thinking_token_budget":-1)", R"("thinking":{})",
        R"("enable_thinking":"yes")", R"("thinking":{"type":"enabled","budget_tokens":-5})"})
    EXPECT_FALSE(chat(with(bad)).ok()) << bad;
}

}  // namespace
}  // namespace sluice
