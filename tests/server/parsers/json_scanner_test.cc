#include "server/parsers/json_scanner.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

JsonScanner::Step scan(std::string_view text) {
  JsonScanner scanner;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto step = scanner.push(text[i]);
    if (step == JsonScanner::Step::kBad) return step;
    if (step == JsonScanner::Step::kDone) return i + 1 == text.size() ? step : JsonScanner::Step::kBad;
  }
  return JsonScanner::Step::kMore;
}

TEST(JsonScanner, follows_every_kind_of_value) {
  for (const char* text : {"{}", R"({"a": 1})", R"({ "a" : [ ] , "b":{"c":[1,2.5,-0.1e+7,true,false,null]}})",
                           R"({"\"\\\u00e9": "x\n\/"})", R"({"a":0})", R"({"a":-0.5E-3 })"})
    EXPECT_EQ(scan(text), JsonScanner::Step::kDone) << text;
}

TEST(JsonScanner, refuses_what_is_no_json) {
  for (const char* text : {"[", "1", "{,}", R"({"a"})", R"({"a":})", R"({"a":1,})", R"({"a":[1,]})",
                           R"({"a":01})", R"({"a":1.})", R"({"a":-})", R"({"a":tru})", R"({"a":"\x"})",
                           R"({"a":1]})", R"({"a":[1}})", R"({"a":1e})", "{'a':1}", R"({"a":"\u12g4"})"})
    EXPECT_EQ(scan(text), JsonScanner::Step::kBad) << text;
  EXPECT_EQ(scan(std::string(JsonScanner::kMaxDepth, '{').insert(1, "\"a\":")), JsonScanner::Step::kBad);
}

TEST(JsonScanner, bounds_the_depth) {
  std::string deep = "{\"a\":" + std::string(JsonScanner::kMaxDepth - 1, '[');
  EXPECT_EQ(scan(deep), JsonScanner::Step::kMore);
  EXPECT_EQ(scan(deep + "["), JsonScanner::Step::kBad);
}

}  // namespace
}  // namespace sluice
