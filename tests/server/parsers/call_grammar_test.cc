// Grammars against the real library: what they allow the parser of the same format reads back as calls.
#include "server/parsers/call_grammar.h"

#include <gtest/gtest.h>

#include "server/text/grammar.h"
#include "tests/server/parsers/parser_world.h"
#include "tests/server/text/golden_folder.h"

namespace sluice {
namespace {

const std::vector<CallSignature> kFunctions = {
    {"f", R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/w"}},
        "required": ["a", "b"], "additionalProperties": false, "$defs": {"w": {"enum": ["x]", "y/"]}}})"},
    {"g", R"({"type":"object","properties":{},"additionalProperties":false})"},
};

class CallGrammar : public ::testing::Test {
 protected:
  // Whether an answer may read so and end there.
  bool allows(const std::string& grammar, std::string_view text) const {
    const auto compiled = Grammar::compile(tokenizer_, end_, "lark", grammar);
    EXPECT_TRUE(compiled.ok()) << (compiled.ok() ? "" : compiled.error().message) << "\n" << grammar;
    if (!compiled.ok()) return false;
    const auto matcher = *(*compiled)->matcher();
    std::vector<int32_t> ids = *tokenizer_->encode(text, false, true);
    ids.push_back(end_);
    std::vector<uint32_t> mask((static_cast<size_t>(tokenizer_->vocabulary()) + 31) / 32);
    for (const int32_t id : ids) {
      EXPECT_TRUE(matcher->fill_mask(mask).ok());
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) == 0) return false;
      if (id != end_) EXPECT_TRUE(matcher->accept(id).ok());
    }
    return true;
  }

  const std::shared_ptr<const Tokenizer> tokenizer_ = load_or_fail(json_source("smollm"));
  const int32_t end_ = tokenizer_->id_of("<|im_end|>");
};

TEST_F(CallGrammar, allows_each_formats_calls_and_the_parser_reads_them) {
  struct Case {
    const char *parser, *jinja;
    std::string one, two;
  };
  const std::string f = R"({"a": 1, "b": "x]"})";
  const Case cases[] = {
      {"hermes", "", "<tool_call>\n{\"name\": \"f\", \"arguments\": " + f + "}\n</tool_call>",
       "\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"},
      {"llama3_json", "", R"({"name": "f", "parameters": )" + f + "}",
       R"(; {"name": "g", "parameters": {}})"},
      {"mistral", "[ARGS]", "[TOOL_CALLS]f[ARGS]" + f, "[TOOL_CALLS]g[ARGS]{}"},
      {"pythonic", "", "[f(**" + f + ")]", ""},
      {"json", "", R"({"name": "f", "arguments": )" + f + "}", ""},
  };
  for (const Case& one : cases) {
    const auto format = dialogue_format(one.parser, "none", one.jinja);
    const std::string single = call_grammar(*format, kFunctions, {.max_calls = 1});
    const std::string several = call_grammar(*format, kFunctions, {.max_calls = 3});
    EXPECT_TRUE(allows(single, one.one)) << single;
    EXPECT_TRUE(allows(several, one.one + one.two)) << several;
    EXPECT_FALSE(allows(single, "Hello"));
    EXPECT_FALSE(allows(single, one.one + " and more"));
    std::string wrong = one.one;
    wrong.replace(wrong.find("\"x]\""), 4, "\"no\"");
    EXPECT_FALSE(allows(single, wrong)) << single;
    if (!one.two.empty()) EXPECT_FALSE(allows(single, one.one + one.two)) << single;
    const auto parsed = testing::parse(testing::parser_options(one.parser), {one.one + one.two});
    EXPECT_EQ(parsed.content, "");
    ASSERT_EQ(parsed.calls.size(), one.two.empty() ? 1U : 2U);
    EXPECT_EQ(parsed.calls[0], (std::pair<std::string, std::string>("f", f)));
  }
  const auto mistral = dialogue_format("mistral", "none", "");
  EXPECT_TRUE(allows(call_grammar(*mistral, kFunctions, {.max_calls = 2}),
                     R"([TOOL_CALLS][{"name": "g", "arguments": {}}, {"name": "g", "arguments": {}}])"));
  const auto json = dialogue_format("json", "none", "");
  EXPECT_TRUE(allows(call_grammar(*json, kFunctions, {.max_calls = 2}),
                     R"([{"name": "g", "arguments": {}}, {"name": "g", "arguments": {}}])"));
}

TEST_F(CallGrammar, lets_thoughts_come_first) {
  const auto format = dialogue_format("hermes", "qwen3", "");
  const std::string call = "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  const std::string open = call_grammar(*format, kFunctions, {.open_reasoning = true});
  EXPECT_TRUE(allows(open, "Hm, {a} < b.\n</think>\n\n" + call));
  EXPECT_FALSE(allows(open, "Hm.</think>\n\nHello"));
  const std::string may = call_grammar(*format, kFunctions, {.optional_reasoning = true});
  EXPECT_TRUE(allows(may, "<think>\nHm.\n</think>\n\n" + call));
  EXPECT_TRUE(allows(may, call));
  EXPECT_FALSE(allows(may, "Hm.</think>" + call));
}

TEST_F(CallGrammar, lets_text_stand_around_calls) {
  const std::string call = "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  for (const bool special : {false, true}) {
    const auto format = dialogue_format(special ? "mistral" : "hermes", "none", "");
    CallGrammarOptions options{.max_calls = 2};
    if (special) options.special_marks = {{"[TOOL_CALLS]", tokenizer_->id_of("<|im_start|>")}};
    const std::string grammar = text_or_call_grammar(*format, kFunctions, options);
    const std::string good = special ? "<|im_start|>[{\"name\": \"g\", \"arguments\": {}}]" : call;
    EXPECT_TRUE(allows(grammar, "Hello <tool, [x] / world.")) << grammar;
    EXPECT_TRUE(allows(grammar, good));
    EXPECT_TRUE(allows(grammar, "I look.\n" + good + " Done."));
    EXPECT_TRUE(allows(grammar, good + "\n" + good));
    EXPECT_FALSE(allows(grammar, (special ? "<|im_start|>" : "<tool_call>") + std::string(" oops")));
    EXPECT_TRUE(marks_calls(*format));
  }
  EXPECT_FALSE(marks_calls(*dialogue_format("json", "none", "")));
}

TEST_F(CallGrammar, takes_special_tokens_for_marks) {
  const auto format = dialogue_format("hermes", "none", "");
  CallGrammarOptions options;
  options.special_marks = {{"<tool_call>", tokenizer_->id_of("<|im_start|>")}};
  const std::string grammar = call_grammar(*format, kFunctions, options);
  EXPECT_TRUE(allows(grammar, "<|im_start|>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>")) << grammar;
  EXPECT_FALSE(allows(grammar, "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"));
}

TEST_F(CallGrammar, wraps_other_grammars_behind_thoughts) {
  const auto format = dialogue_format("none", "qwen3", "");
  const CallGrammarOptions open{.open_reasoning = true};
  const auto wrapped = [&](const char* kind, const char* text) {
    return grammar_behind_reasoning(*format, kind, text, open);
  };
  const std::string schema = wrapped("json_schema", R"({"type": "integer"})");
  EXPECT_TRUE(allows(schema, "Hm.</think>42"));
  EXPECT_FALSE(allows(schema, "Hm.</think>forty"));
  const std::string regex = wrapped("regex", R"([a-z]+/\d\/x)");
  EXPECT_TRUE(allows(regex, "Hm.</think>\n\nab/1/x"));
  EXPECT_FALSE(allows(regex, "Hm.</think>AB"));
  const std::string lark = wrapped("lark", "start: \"yes\" | other\nother: \"no\"");
  EXPECT_TRUE(allows(lark, "Hm.</think>no"));
  EXPECT_FALSE(allows(lark, "Hm.</think>maybe"));
}

}  // namespace
}  // namespace sluice
