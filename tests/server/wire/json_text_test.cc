#include "server/wire/json_text.h"

#include <gtest/gtest.h>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

JsonText parse(const std::string& text) {  // `text` outlives the result
  auto json = JsonText::check(text, 64);
  EXPECT_TRUE(json.ok()) << (json.ok() ? "" : json.error().message);
  return *json;
}

TEST(JsonText, walks_members_in_order_without_losing_their_text) {
  const std::string text = R"( { "b" : [1, {"x":"]}"}] ,"a":"q\"\\\u00e9", "\u0063": -1.5e2 } )";
  const auto members = parse(text).members(10);
  ASSERT_TRUE(members.ok());
  ASSERT_EQ(members->size(), 3U);
  EXPECT_EQ((*members)[0].name, "b");
  EXPECT_EQ((*members)[0].value.text(), R"([1, {"x":"]}"}])");
  EXPECT_EQ((*members)[1].value.string(), "q\"\\\xc3\xa9");
  EXPECT_EQ((*members)[2].name, "c");
  EXPECT_EQ((*members)[2].value.number(), -150.0);
}

TEST(JsonText, walks_empty_and_nested_arrays) {
  const std::string text = R"([[],{}, [ ] ,"a,]", null,true ])";
  std::vector<std::string> seen;
  parse(text).for_each([&](JsonText element) {
    seen.emplace_back(element.text());
    return true;
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"[]", "{}", "[ ]", "\"a,]\"", "null", "true"}));
  EXPECT_EQ(parse(text).element_count(3), 3U);
}

TEST(JsonText, reads_integers_exactly) {
  const auto integer = [](const std::string& text) { return parse(text).integer(); };
  EXPECT_EQ(integer("9223372036854775807"), std::optional<int64_t>(9223372036854775807LL));
  EXPECT_EQ(integer("-9223372036854775808"), std::optional<int64_t>(INT64_MIN));
  EXPECT_EQ(integer("3.0"), std::optional<int64_t>(3));
  EXPECT_EQ(integer("1e3"), std::optional<int64_t>(1000));
  EXPECT_EQ(integer("9223372036854775808"), std::nullopt);
  EXPECT_EQ(integer("1.5"), std::nullopt);
  EXPECT_EQ(integer("1e300"), std::nullopt);
}

TEST(JsonText, refuses_what_is_not_json_and_says_where) {
  for (const char* text :
       {"",      " ",         "{",       "}",   "[1,]",     "{\"a\":1,}", "{'a':1}",     "nul",
        "01",    "+1",        "1.",      ".5",  "\"\x01\"", "\"\\x\"",    "\"\\ud800\"", "\"\xff\"",
        "[1] 2", "{\"a\" 1}", "// c\n1", "NaN", "1e999999", "\"abc"}) {
    const auto json = JsonText::check(text, 64);
    ASSERT_FALSE(json.ok()) << text;
    EXPECT_EQ(json.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_NE(JsonText::check("{\"a\": }", 64).error().message.find("byte 7"), std::string::npos);
}

TEST(JsonText, bounds_depth_and_members) {
  const std::string deep = std::string(100000, '[');
  EXPECT_NE(JsonText::check(deep, 64).error().message.find("64"), std::string::npos);
  const std::string fits = std::string(64, '[') + std::string(64, ']');
  EXPECT_TRUE(JsonText::check(fits, 64).ok());
  EXPECT_FALSE(JsonText::check("[" + fits + "]", 64).ok());
  EXPECT_FALSE(parse(R"({"a":1,"b":2})").members(1).ok());
}

TEST(JsonOut, escapes_what_must_be_and_mends_what_is_not_utf8) {
  std::string out;
  append_json_string(out, std::string_view("a\"b\\c\n\r\t\x01\x7f\0é日🦙", 20));
  EXPECT_EQ(out, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f\\u0000é日🦙\"");
  for (const char* bad : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xff"}) {
    out.clear();
    append_json_string(out, bad);
    EXPECT_TRUE(JsonText::check(out, 4).ok()) << out;
    EXPECT_NE(out.find("\xef\xbf\xbd"), std::string::npos);
  }
}

TEST(JsonOut, has_no_words_for_what_json_cannot_say) {
  std::string out;
  append_json(out, 0.5);
  append_json(out, std::numeric_limits<double>::infinity(), "x");
  append_json(out, std::numeric_limits<double>::quiet_NaN());
  append_json(out, int64_t{-7});
  EXPECT_EQ(out, "0.5xnull-7");
}

}  // namespace
}  // namespace sluice
