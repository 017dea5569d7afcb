#include "router/io/body_scan.h"

#include <gtest/gtest.h>

namespace sluice::router {
namespace {

BodyScan scan(std::string_view body) {
  auto result = scan_body(body);
  EXPECT_TRUE(result.ok()) << body;
  return result.ok() ? *result : BodyScan();
}

TEST(BodyScan, finds_what_routing_wants) {
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"user":"u","priority":-3,)"
      R"("max_tokens":7,"cache_salt":"s","tools":[{}],"chat_template_kwargs":{"a":1},"system":"be kind"})";
  const BodyScan found = scan(body);
  EXPECT_EQ(found.model, "m");
  EXPECT_EQ(found.model_text, "\"m\"");
  EXPECT_EQ(found.prompt, R"([{"role":"user","content":"Hi"}])");
  EXPECT_EQ(found.instructions, "\"be kind\"");
  EXPECT_EQ(found.tools, "[{}]");
  EXPECT_EQ(found.template_arguments, R"({"a":1})");
  EXPECT_TRUE(found.stream);
  EXPECT_EQ(found.user, "u");
  EXPECT_EQ(found.priority, -3);
  EXPECT_EQ(found.max_tokens, 7U);
  EXPECT_EQ(found.cache_salt, "s");
  EXPECT_FALSE(found.greedy || found.seeded || found.plural || found.returns_token_ids || found.continues);
}

TEST(BodyScan, is_not_fooled_by_text_that_looks_like_fields) {
  const BodyScan found =
      scan(R"({"messages":[{"content":"\"model\":\"evil\",\"stream\":true","model":"inner","stream":true}],)"
           R"("user":"me"})");
  EXPECT_EQ(found.model, "");
  EXPECT_FALSE(found.stream);
  EXPECT_EQ(found.user, "me");
}

TEST(BodyScan, reads_names_that_are_written_with_escapes_and_lets_the_last_of_equal_ones_count) {
  const BodyScan found = scan(R"({"model":"a","mod\u0065l":"b\u0063","stream":false,"stream":true})");
  EXPECT_EQ(found.model, "bc");
  EXPECT_EQ(found.model_text, R"("b\u0063")");
  EXPECT_TRUE(found.stream);
}

TEST(BodyScan, takes_null_for_absent_but_knows_where_it_stands) {
  const BodyScan found = scan(R"({"model":null,"seed":null,"return_token_ids":null,"temperature":null})");
  EXPECT_EQ(found.model, "");
  EXPECT_EQ(found.model_text, "null");
  EXPECT_EQ(found.seed_text, "null");
  EXPECT_EQ(found.token_ids_text, "null");
  EXPECT_FALSE(found.seeded || found.greedy || found.returns_token_ids);
}

TEST(BodyScan, tells_what_can_go_on_elsewhere) {
  EXPECT_TRUE(scan(R"({"temperature":0})").greedy);
  EXPECT_TRUE(scan(R"({"temperature":0.0})").greedy);
  EXPECT_FALSE(scan(R"({"temperature":0.1})").greedy);
  EXPECT_TRUE(scan(R"({"seed":1})").seeded);
  for (const char* body : {R"({"n":2})", R"({"echo":true})", R"({"prompt":["a","b"]})",
                           R"({"prompt":[[1],[2]]})", R"({"best_of":3})", R"({"prompt_logprobs":1})"}) {
    EXPECT_TRUE(scan(body).plural) << body;
  }
  for (const char* body :
       {R"({"n":1})", R"({"echo":false})", R"({"prompt":["a"]})", R"({"prompt":[1,2]})", "{}"}) {
    EXPECT_FALSE(scan(body).plural) << body;
  }
  EXPECT_TRUE(scan(R"({"continue_tokens":[1]})").continues);
}

TEST(BodyScan, survives_values_of_the_wrong_kind) {
  const BodyScan found = scan(
      R"({"model":3,"stream":"true","user":{},"priority":"high","max_tokens":-5,"temperature":[],"n":"x",)"
      R"("prompt":{}})");
  EXPECT_EQ(found.model, "");
  EXPECT_FALSE(found.stream || found.greedy);
  EXPECT_EQ(found.max_tokens, 0U);
  EXPECT_TRUE(found.plural);  // whatever it is, it is not one
}

TEST(BodyScan, says_where_the_fault_is) {
  const auto result = scan_body(R"({"a":1,,})");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("byte 7"), std::string::npos) << result.error().message;
  EXPECT_FALSE(scan_body("[]").ok());
}

TEST(PromptIds, reads_ids_and_nothing_else) {
  EXPECT_EQ(prompt_ids("[1, 22 ,\n333]", 10), (std::vector<int32_t>{1, 22, 333}));
  for (const char* prompt : {"", "[]", "[1", "[1,]", "[-1]", "[1.5]", "[\"a\"]", "[[1]]", "[99999999999]",
                             "\"1\"", "{}", "[1 2]", "null"}) {
    EXPECT_FALSE(prompt_ids(prompt, 10)) << prompt;
  }
  EXPECT_FALSE(prompt_ids("[1,2,3]", 2));
}

TEST(SpliceBody, changes_what_it_should_and_nothing_else) {
  EXPECT_EQ(splice("0123456789", {}), "0123456789");
  EXPECT_EQ(splice("0123456789", {{0, 0, "a"}, {3, 2, "b"}, {10, 0, "c"}}), "a012b56789c");
}

}  // namespace
}  // namespace sluice::router
