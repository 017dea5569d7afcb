// What models write, as recorded from their templates and cards, and what comes of it in every cut.
#include "server/parsers/answer_parser.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/server/parsers/parser_world.h"

namespace sluice {
namespace {

using testing::parse;
using testing::Parsed;
using testing::parser_options;

// The text whole, byte by byte, and in two pieces at every place: all the same.
Parsed in_every_cut(const AnswerParserOptions& options, std::string_view text) {
  const Parsed whole = parse(options, {text});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    bytes.push_back(text.substr(i, 1));
    EXPECT_EQ(parse(options, {text.substr(0, i), text.substr(i)}), whole) << text << " cut at " << i;
  }
  EXPECT_EQ(parse(options, bytes), whole) << text;
  return whole;
}

Parsed content(std::string text) {
  return {"", std::move(text), {}};
}
Parsed calls(std::vector<std::pair<std::string, std::string>> calls, std::string text = "") {
  return {"", std::move(text), std::move(calls)};
}

TEST(AnswerParser, reads_hermes_calls_and_the_text_before_them) {
  const auto options = parser_options("hermes");
  EXPECT_EQ(in_every_cut(options, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
            calls({{"f", "{\"a\": 1}"}}));
  EXPECT_EQ(in_every_cut(options,
                         "I look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": "
                         "\"}</tool_call>\"}]}}\n</tool_call>\n<tool_call>\n{\"arguments\": {}, \"name\": "
                         "\"other\"}\n</tool_call>\n"),
            calls({{"f", "{\"a\": [1, {\"b\": \"}</tool_call>\"}]}"}, {"other", "{}"}}, "I look."));
  EXPECT_EQ(in_every_cut(options, "<tool_call>{\"name\":\"f\"}</tool_call>"), calls({{"f", "{}"}}));
  EXPECT_EQ(in_every_cut(options, "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"y\"}}"),
            calls({{"f", "{\"x\":\"y\"}"}}));
  EXPECT_EQ(
      in_every_cut(options, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": \\\"\\u00e9\\\"}\"}"),
      calls({{"f", "{\"x\": \"é\"}"}}));
  EXPECT_EQ(in_every_cut(options, "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"a\nb\"}}</tool_call>"),
            calls({{"f", "{\"x\":\"a\\nb\"}"}}));
  EXPECT_EQ(in_every_cut(options, "{\"name\": \"f\", \"arguments\": {}}"),
            content("{\"name\": \"f\", \"arguments\": {}}"));
}

TEST(AnswerParser, loses_nothing_of_a_malformed_call) {
  const auto options = parser_options("hermes");
  for (const char* text : {
           "<tool_call>nonsense</tool_call>",
           "<tool_call>\n{\"name\": \"f\", \"arguments\": [1]}\n</tool_call>",
           "<tool_call>{\"name\": 5}",
           "<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>",
           "<tool_call>{\"name\": \"f",
           "<tool_call>",
           "<tool_ca",
           "a < b <tool_ <tool_call",
           "<tool_call></tool_call>",
           "  leading and trailing  \n",
           "<tool_call>{\"name\": \"f\", \"arguments\": \"no json\"}</tool_call>",
       })
    EXPECT_EQ(in_every_cut(options, text), content(text));
  // What had begun stays; the rest is content.
  EXPECT_EQ(in_every_cut(options, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": oops}}"),
            calls({{"f", "{\"a\": "}}, "oops}}"));
  EXPECT_EQ(in_every_cut(options, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"lon"),
            calls({{"f", "{\"a\": \"lon"}}));
  EXPECT_EQ(in_every_cut(options, "<tool_call>{\"name\": <tool_call>{\"name\": \"g\"}</tool_call> bye"),
            calls({{"g", "{}"}}, "<tool_call>{\"name\":  bye"));
}

TEST(AnswerParser, reads_llama_3_json_with_and_without_its_mark) {
  const auto options = parser_options("llama3_json");
  EXPECT_EQ(in_every_cut(options, R"({"name": "f", "parameters": {"a": 1}})"), calls({{"f", "{\"a\": 1}"}}));
  EXPECT_EQ(
      in_every_cut(options, R"(<|python_tag|>{"type": "function", "name": "f", "parameters": {"a": 1}})"),
      calls({{"f", "{\"a\": 1}"}}));
  EXPECT_EQ(
      in_every_cut(options, R"({"name": "f", "parameters": {}}; {"name": "g", "parameters": {"b": null}})"),
      calls({{"f", "{}"}, {"g", "{\"b\": null}"}}));
  for (const char* text : {R"({"name": "Bob", "parameters": {}})", R"({"capital": "Paris"})", "The { brace"})
    EXPECT_EQ(in_every_cut(options, text), content(text));
}

TEST(AnswerParser, reads_both_mistral_forms) {
  const auto options = parser_options("mistral");
  EXPECT_EQ(
      in_every_cut(options,
                   R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}])"),
      calls({{"f", "{\"a\": 1}"}, {"g", "{}"}}));
  EXPECT_EQ(in_every_cut(options, R"(Sure.[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]ab12[ARGS]{})"),
            calls({{"f", "{\"a\": 1}"}, {"g", "{}"}}, "Sure."));
  EXPECT_EQ(in_every_cut(options, R"([TOOL_CALLS]f{"a": 1})"), calls({{"f", "{\"a\": 1}"}}));
  for (const char* text : {"[TOOL_CALLS] none", "[TOOL_CALLS]f[ARGS] oops", "[1, 2]", "[TOOL_CALLS][]",
                           "[TOOL_CALLS]f[CALL_ID]a b", "[TOOL_CALLS]f[X"})
    EXPECT_EQ(in_every_cut(options, text), content(text));
}

TEST(AnswerParser, reads_pythonic_calls) {
  const auto options = parser_options("pythonic");
  EXPECT_EQ(in_every_cut(options, R"([f(a=1, b="x]"), g(c=[True, None], d={'k': -1.5})])"),
            calls({{"f", R"({"a": 1, "b": "x]"})"}, {"g", R"({"c": [true, null], "d": {"k": -1.5}})"}}));
  EXPECT_EQ(in_every_cut(options, R"( [f(**{"a": "it's"})] )"), calls({{"f", R"({"a": "it's"})"}}));
  for (const char* text :
       {"[1] is a footnote", "[unknown(a=1)]", "[f(a=)]", "[f(1)]", "[f(a=1", "[f", "text [f()]"})
    EXPECT_EQ(in_every_cut(options, text), content(text));
  EXPECT_EQ(in_every_cut(options, "[f(), oops]"), calls({{"f", "{}"}}, ", oops]"));
}

TEST(AnswerParser, reads_generic_json_as_object_list_or_marked) {
  const auto options = parser_options("json");
  EXPECT_EQ(in_every_cut(options, R"({"name": "f", "arguments": {"a": 1}})"), calls({{"f", "{\"a\": 1}"}}));
  EXPECT_EQ(in_every_cut(options, R"([{"name": "f", "arguments": {}}, {"name": "g", "parameters": {}}])"),
            calls({{"f", "{}"}, {"g", "{}"}}));
  EXPECT_EQ(in_every_cut(options, R"(Well: <tool_call>{"name": "x", "arguments": {}}</tool_call>)"),
            calls({{"x", "{}"}}, "Well:"));
  for (const char* text : {R"([{"a": 1}])", "[1]", R"({"name": "nobody", "arguments": {}})"})
    EXPECT_EQ(in_every_cut(options, text), content(text));
}

TEST(AnswerParser, splits_reasoning_that_answer_or_prompt_opened) {
  const auto own = parser_options("none", "qwen3");
  EXPECT_EQ(in_every_cut(own, "<think>\nHm < 5.\n\nYes.\n</think>\n\nParis."),
            (Parsed{"Hm < 5.\n\nYes.", "Paris.", {}}));
  EXPECT_EQ(in_every_cut(own, "\n<thin air"), content("\n<thin air"));
  EXPECT_EQ(in_every_cut(own, "Paris. <think>no</think>"), content("Paris. <think>no</think>"));
  EXPECT_EQ(in_every_cut(own, "<think>\n\n</think>\n\nParis."), content("Paris."));
  EXPECT_EQ(in_every_cut(own, "<think>cut of"), (Parsed{"cut of", "", {}}));
  const auto opened = parser_options("none", "deepseek_r1", true);
  EXPECT_EQ(in_every_cut(opened, "Hm.</think>Paris."), (Parsed{"Hm.", "Paris.", {}}));
  EXPECT_EQ(in_every_cut(opened, "\n<think>\nHm.</think>Paris."), (Parsed{"Hm.", "Paris.", {}}));
  EXPECT_EQ(in_every_cut(opened, "</think>Paris."), content("Paris."));
  EXPECT_EQ(in_every_cut(opened, "no end </thin"), (Parsed{"no end </thin", "", {}}));
}

TEST(AnswerParser, reads_calls_behind_reasoning_and_none_within_it) {
  const auto options = parser_options("hermes", "qwen3");
  EXPECT_EQ(in_every_cut(options,
                         "<think>I could <tool_call> here.</think>\n\n<tool_call>\n{\"name\": \"f\", "
                         "\"arguments\": {\"a\": 1}}\n</tool_call>"),
            (Parsed{"I could <tool_call> here.", "", {{"f", "{\"a\": 1}"}}}));
}

TEST(AnswerParser, drops_what_follows_the_last_allowed_call) {
  for (const char* format : {"hermes", "json"}) {
    EXPECT_EQ(
        in_every_cut(parser_options(format, "none", false, 1),
                     "<tool_call>{\"name\": \"f\"}</tool_call><tool_call>{\"name\": \"g\"}</tool_call> x"),
        calls({{"f", "{}"}}));
  }
  EXPECT_EQ(in_every_cut(parser_options("pythonic", "none", false, 1), "[f(), g()]"), calls({{"f", "{}"}}));
}

TEST(AnswerParser, keeps_hidden_marks_out_of_the_content) {
  auto options = parser_options("mistral");
  options.calls->hidden = {"[TOOL_CALLS]", "[ARGS]"};
  EXPECT_EQ(in_every_cut(options, "[TOOL_CALLS] oops"), content(" oops"));
  EXPECT_EQ(in_every_cut(options, "[TOOL_CALLS]f[ARGS]oops"), content("foops"));
}

}  // namespace
}  // namespace sluice
