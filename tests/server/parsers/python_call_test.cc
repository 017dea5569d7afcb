#include "server/parsers/python_call.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice {
namespace {

TEST(PythonCall, turns_literals_into_json) {
  const auto call = parse_python_call(R"(a.b( s='it''s' ))");
  EXPECT_FALSE(call);  // no joined strings
  const auto good = parse_python_call(
      R"(a.b(s='say "hi"\n\x41\u00e9\q', n=-1.5e3, t=(1, True,), e={},
      m={'k': [None, false,],}, **{"z": "\/"},))");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->name, "a.b");
  EXPECT_EQ(nlohmann::json::parse(good->arguments),
            nlohmann::json::parse(
                R"({"s": "say \"hi\"\nAé\\q", "n": -1500.0, "t": [1, true],
          "e": {}, "m": {"k": [null, false]}, "z": "/"})"));
  EXPECT_EQ(parse_python_call("f()")->arguments, "{}");
}

TEST(PythonCall, refuses_everything_else) {
  for (const char* text :
       {"", "f", "f(", "f(1)", "f(a=b)", "f(a=1 b=2)", "f(a=1))", "f(a=.5)", "f(a=1_0)", "f(a='x)",
        "f(a=\"\\u12\")", "f(**x)", "f(a={1: 2})", "f(a=1+1)", "1f()", "f(a=01)"})
    EXPECT_FALSE(parse_python_call(text)) << text;
  EXPECT_FALSE(parse_python_call("f(a=" + std::string(100000, '[') + ")"));
}

}  // namespace
}  // namespace sluice
