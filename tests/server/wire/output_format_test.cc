#include "server/wire/output_format.h"

#include <gmock/gmock.h>

#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

using testing::completion;
using ::testing::HasSubstr;
using ::testing::Not;

std::optional<GrammarSource> source_of(const std::string& fields) {
  const auto request = completion("{\"prompt\":\"a\"," + fields + "}");
  EXPECT_TRUE(request.ok()) << fields << ": " << (request.ok() ? "" : request.error().message);
  return request.ok() ? request->grammar : std::nullopt;
}

std::string refusal_of(const std::string& fields) {
  const auto request = completion("{\"prompt\":\"a\"," + fields + "}");
  EXPECT_FALSE(request.ok()) << fields;
  return request.ok() ? "" : request.error().param + ": " + request.error().message;
}

TEST(OutputFormat, is_free_unless_asked) {
  EXPECT_FALSE(source_of(R"("n":1)"));
  EXPECT_FALSE(source_of(R"("response_format":{"type":"text"})"));
  EXPECT_FALSE(source_of(R"("response_format":null,"structured_outputs":null,"guided_json":null)"));
}

TEST(OutputFormat, takes_a_schema_in_each_spelling) {
  const std::string schema = R"({"type":"integer"})";
  const std::vector<std::string> spellings{
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)" + schema + "}}",
      R"("structured_outputs":{"json":)" + schema + "}",
      R"("structured_outputs":{"json":"{\"type\":\"integer\"}"})",
      R"("guided_json":)" + schema,
  };
  for (const std::string& spelling : spellings) {
    const auto source = source_of(spelling);
    ASSERT_TRUE(source) << spelling;
    EXPECT_EQ(source->kind, "json_schema");
    EXPECT_THAT(source->text, HasSubstr(R"("type":"integer")"));
    EXPECT_THAT(source->text, HasSubstr("whitespace_pattern"));
  }
}

TEST(OutputFormat, leaves_the_schemas_own_options_alone) {
  const std::string schema = R"({"x-guidance":{"whitespace_flexible":false},"type":"integer"})";
  EXPECT_EQ(source_of(R"("guided_json":)" + schema)->text, schema);
}

TEST(OutputFormat, makes_an_object_of_json_object) {
  for (const char* fields :
       {R"("response_format":{"type":"json_object"})", R"("structured_outputs":{"json_object":true})"}) {
    EXPECT_THAT(source_of(fields)->text, HasSubstr(R"("type":"object")"));
  }
}

TEST(OutputFormat, reads_digits_of_a_regex_as_ascii) {
  const auto regex = [](const std::string& text) {
    return source_of("\"structured_outputs\":{\"regex\":\"" + text + "\"}")->text;
  };
  EXPECT_EQ(regex(R"(\\d{2}\\w[\\d_]\\D\\\\d\\.)"), R"([0-9]{2}[A-Za-z0-9_][0-9_][^0-9]\\d\.)");
}

TEST(OutputFormat, quotes_choices) {
  const auto source = source_of(R"("guided_choice":["yes","a\"b | c"])");
  EXPECT_EQ(source->kind, "lark");
  EXPECT_EQ(source->text, R"(start: "yes" | "a\"b | c")");
}

TEST(OutputFormat, refuses_what_is_no_format_naming_the_field) {
  EXPECT_THAT(refusal_of(R"("response_format":{"type":"json_schema"})"),
              HasSubstr("json_schema' is missing"));
  EXPECT_THAT(refusal_of(R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})"),
              HasSubstr("schema' is missing"));
  EXPECT_THAT(refusal_of(R"("response_format":{"type":"yaml"})"), HasSubstr("response_format"));
  EXPECT_THAT(refusal_of(R"("response_format":{})"), HasSubstr("response_format"));
  EXPECT_THAT(refusal_of(R"("structured_outputs":{})"), HasSubstr("structured_outputs"));
  EXPECT_THAT(refusal_of(R"("structured_outputs":{"json":5})"), HasSubstr("structured_outputs.json"));
  EXPECT_THAT(refusal_of(R"("structured_outputs":{"json":"no json"})"), HasSubstr("structured_outputs.json"));
  EXPECT_THAT(refusal_of(R"("structured_outputs":{"choice":[]})"), HasSubstr("is empty"));
  EXPECT_THAT(refusal_of(R"("structured_outputs":{"choice":["a",5]})"), HasSubstr("strings"));
  EXPECT_THAT(refusal_of(R"("guided_regex":5)"), HasSubstr("guided_regex"));
  EXPECT_THAT(refusal_of(R"("guided_grammar":"root ::= \"a\"")"), HasSubstr("Lark"));
  EXPECT_THAT(refusal_of(R"("guided_regex":"a","response_format":{"type":"json_object"})"),
              HasSubstr("send one"));
  EXPECT_THAT(refusal_of("\"guided_regex\":\"" + std::string(300 << 10, 'a') + "\""),
              HasSubstr("guided_regex"));
}

}  // namespace
}  // namespace sluice
