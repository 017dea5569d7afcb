#include "server/parsers/dialogue_format.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::string calls_of(std::string_view jinja) {
  return dialogue_format("auto", "none", jinja)->call_parser;
}
std::string reasoning_of(std::string_view jinja) {
  return dialogue_format("none", "auto", jinja)->reasoning_parser;
}

TEST(DialogueFormat, is_told_by_the_template) {
  EXPECT_EQ(calls_of("{{ '\\n<tool_call>\\n{\"name\": \"' }}"), "hermes");
  EXPECT_EQ(calls_of("{{ '<|python_tag|>' + tool_call.name }}"), "llama3_json");
  EXPECT_EQ(calls_of("{{ '{\"name\": \"' }}{{ '\"parameters\": ' }}{% if role == 'ipython' %}"),
            "llama3_json");
  EXPECT_EQ(calls_of("[func_name1(params_name1=params_value1, params_name2=params_value2...)"), "pythonic");
  EXPECT_EQ(calls_of("{{ '[TOOL_CALLS]' }}"), "mistral");
  EXPECT_FALSE(dialogue_format("auto", "auto", "{{ '[TOOL_CALLS]' }}")->marks.arguments_mark);
  EXPECT_TRUE(
      dialogue_format("auto", "auto", "{{ '[TOOL_CALLS]' + name + '[ARGS]' }}")->marks.arguments_mark);
  EXPECT_EQ(calls_of("{{ messages }}"), "json");
  EXPECT_EQ(reasoning_of("{{ '<think>\\n' }}"), "qwen3");
  EXPECT_EQ(reasoning_of("[THINK]"), "mistral");
  EXPECT_EQ(reasoning_of("{{ messages }}"), "none");
}

TEST(DialogueFormat, is_what_the_operator_says) {
  EXPECT_EQ(dialogue_format("pythonic", "deepseek_r1", "<tool_call>")->call_parser, "pythonic");
  EXPECT_TRUE(dialogue_format("none", "deepseek_r1", "")->always_reasons);
  EXPECT_FALSE(dialogue_format("none", "none", "<tool_call><think>")->calls);
  const auto wrong = dialogue_format("hermees", "auto", "");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("hermes"), std::string::npos);
  EXPECT_FALSE(dialogue_format("auto", "loud", "").ok());
}

TEST(DialogueFormat, sees_a_block_the_prompt_has_opened) {
  const ReasoningMarks marks{"<think>", "</think>"};
  EXPECT_TRUE(opens_reasoning(marks, "<|im_start|>assistant\n<think>\n"));
  EXPECT_FALSE(opens_reasoning(marks, "<|im_start|>assistant\n<think>\n\n</think>\n\n"));
  EXPECT_FALSE(opens_reasoning(marks, "<|im_start|>assistant\n"));
  EXPECT_FALSE(opens_reasoning({}, ""));
}

}  // namespace
}  // namespace sluice
