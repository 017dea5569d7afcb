#include "server/parsers/dialogue_format.h"

#include <gtest/gtest.h>

#include "server/text/chat_template.h"
#include "tests/server/parsers/parser_world.h"
#include "tests/server/text/golden_folder.h"

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

// What a template writes of an assistant's calls is how the model writes them: the parser picked for the
// template reads them back.
TEST(DialogueFormat, reads_back_what_real_templates_write) {
  struct Case {
    const char *name, *parser;
  };
  for (const Case& one :
       {Case{"qwen_tools", "hermes"}, {"llama3_tools", "llama3_json"}, {"mistral_tools", "mistral"}}) {
    TokenizerSource source;
    source.bos_token = "<s>";
    source.eos_token = "</s>";
    source.chat_template = read_file(golden_folder("templates") / (std::string(one.name) + ".jinja"));
    const auto format = dialogue_format("auto", "auto", source.chat_template);
    EXPECT_EQ(format->call_parser, one.parser);
    const auto chat = ChatTemplate::compile(source);
    ASSERT_TRUE(chat.ok());
    const auto text = (*chat)->render(R"({"messages":[{"role":"user","content":"hi"},
      {"role":"assistant","content":"","tool_calls":[{"id":"abcdefghi","type":"function",
        "function":{"name":"f","arguments":{"a":[1,"é"]}}}]},
      {"role":"tool","tool_call_id":"abcdefghi","name":"f","content":"42"}],
      "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object",
        "properties":{}}}}],"add_generation_prompt":true})");
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_NE(text->find("42"), std::string::npos) << *text;
    // The assistant's turn: from the last thing before its call to the end-of-turn mark.
    const std::string call = format->marks.bare ? "{\"name\": \"f\"" : format->marks.begin;
    const size_t at = text->rfind(call + (format->marks.bare    ? ""
                                          : format->marks.named ? " [{"
                                                                : "\n{\"name\": \"f\""));
    ASSERT_NE(at, std::string::npos) << *text;
    std::string turn = text->substr(at);
    for (const char* end : {"<|im_end|>", "<|eot_id|>", "[TOOL_RESULTS]", "</s>"})
      turn = turn.substr(0, turn.find(end));
    const auto parsed = testing::parse(testing::parser_options(one.parser), {turn});
    ASSERT_EQ(parsed.calls.size(), 1U) << turn;
    EXPECT_EQ(parsed.calls[0].first, "f");
    EXPECT_EQ(nlohmann::json::parse(parsed.calls[0].second), nlohmann::json::parse(R"({"a":[1,"é"]})"));
    EXPECT_EQ(parsed.content, "");
  }
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
