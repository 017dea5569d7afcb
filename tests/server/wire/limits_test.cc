// The limits an owner may move: what lies at the bound passes, one more is refused by a sentence that names
// the bound and its flag.
#include <gtest/gtest.h>

#include "server/wire/anthropic_request.h"
#include "server/wire/pooling_request.h"
#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

WireLimits tight_limits() {
  WireLimits limits = testing::small_limits();
  limits.embedding_width = 64;
  limits.max_json_depth = 8;
  limits.max_n = 3;
  limits.max_prompts = 4;
  limits.max_choices = 6;
  limits.max_messages = 2;
  limits.max_stop_strings = 2;
  limits.max_logprobs = 5;
  return limits;
}

template <class Parse>
std::string refusal(Parse parse, const std::string& body) {
  const auto parsed = parse(body);
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  return parsed.error().message;
}

std::string chat_refusal(const std::string& fields, int messages = 1) {
  std::string body = R"({"messages":[)";
  for (int i = 0; i < messages; ++i)
    body += std::string(i > 0 ? "," : "") + R"({"role":"user","content":"a"})";
  return refusal([](const auto& text) { return parse_chat_request(text, tight_limits(), {}); },
                 body + "]" + fields + "}");
}

std::string completion_refusal(const std::string& fields) {
  return refusal([](const auto& text) { return parse_completion_request(text, tight_limits()); },
                 "{" + fields + "}");
}

void expect_named(const std::string& message, const std::string& bound, const std::string& flag) {
  EXPECT_NE(message.find(bound), std::string::npos) << message;
  EXPECT_NE(message.find("(" + flag + ")"), std::string::npos) << message;
}

TEST(WireLimits, bound_the_messages_of_a_conversation) {
  EXPECT_EQ(chat_refusal("", 2), "");
  expect_named(chat_refusal("", 3), "more than 2 messages", "--max-messages");
  const std::string one = R"({"role":"user","content":"a"})";
  const auto messages = [](const auto& text) {
    return parse_messages_request(text, tight_limits(), {}, false);
  };
  const std::string head = R"({"max_tokens":5,"messages":[)" + one + "," + one;
  EXPECT_EQ(refusal(messages, head + "]}"), "");
  expect_named(refusal(messages, head + "," + one + "]}"), "more than 2 messages", "--max-messages");
}

TEST(WireLimits, bound_stop_strings) {
  EXPECT_EQ(chat_refusal(R"(,"stop":["a","b"])"), "");
  expect_named(chat_refusal(R"(,"stop":["a","b","c"])"), "more than 2 strings", "--max-stop-strings");
  expect_named(completion_refusal(R"("prompt":"a","stop":["a","b","c"])"), "more than 2 strings",
               "--max-stop-strings");
}

TEST(WireLimits, bound_n) {
  EXPECT_EQ(chat_refusal(R"(,"n":3)"), "");
  expect_named(chat_refusal(R"(,"n":4)"), "from 1 to 3", "--max-n");
  expect_named(completion_refusal(R"("prompt":"a","n":2,"best_of":4)"), "from 1 to 3", "--max-n");
}

TEST(WireLimits, bound_logprobs) {
  expect_named(chat_refusal(R"(,"prompt_logprobs":6)"), "from 0 to 5", "--max-logprobs");
  EXPECT_EQ(chat_refusal(R"(,"logprobs":true,"top_logprobs":5)"), "");
  expect_named(chat_refusal(R"(,"logprobs":true,"top_logprobs":6)"), "from 0 to 5", "--max-logprobs");
  EXPECT_EQ(completion_refusal(R"("prompt":"a","logprobs":5)"), "");
  expect_named(completion_refusal(R"("prompt":"a","logprobs":6)"), "from 0 to 5", "--max-logprobs");
}

TEST(WireLimits, bound_a_batch_of_prompts_and_its_choices) {
  EXPECT_EQ(completion_refusal(R"("prompt":["a","b","c","d"])"), "");
  expect_named(completion_refusal(R"("prompt":["a","b","c","d","e"])"), "more than 4 prompts",
               "--max-prompts");
  expect_named(completion_refusal(R"("prompt":[[1],[2],[3],[4],[5]])"), "more than 4 prompts",
               "--max-prompts");
  EXPECT_EQ(completion_refusal(R"("prompt":["a","b"],"n":3)"), "");
  expect_named(completion_refusal(R"("prompt":["a","b","c"],"n":3)"), "more than the 6 choices",
               "--max-choices");
  const auto embedding = [](const auto& text) { return parse_embedding_request(text, tight_limits()); };
  expect_named(refusal(embedding, R"({"input":["a","b","c","d","e"]})"), "more than 4 prompts",
               "--max-prompts");
  const auto rerank = [](const auto& text) { return parse_rerank_request(text, tight_limits()); };
  expect_named(refusal(rerank, R"({"query":"q","documents":["a","b","c","d","e"]})"), "more than 4 texts",
               "--max-prompts");
}

TEST(WireLimits, leave_a_requests_template_to_servers_that_trust_it) {
  const std::string fields = R"(,"chat_template":"{{ messages }} developer")";
  EXPECT_NE(chat_refusal(fields).find("--trust-request-chat-template"), std::string::npos);
  ChatDialect trusting;
  trusting.trusts_request_template = true;
  const auto parse = [&](const std::string& more) {
    return parse_chat_request(R"({"messages":[{"role":"developer","content":"a"}])" + more + "}",
                              tight_limits(), trusting);
  };
  const auto request = parse(fields);
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->chat_template, "{{ messages }} developer");
  EXPECT_NE(request->template_variables.find(R"("role":"developer")"), std::string::npos);
  EXPECT_NE(parse("")->template_variables.find(R"("role":"system")"), std::string::npos);
  const auto large = parse(R"(,"chat_template":")" + std::string(70000, 'x') + "\"");
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().param, "chat_template");
  EXPECT_FALSE(parse(R"(,"chat_template":5)").ok());
}

TEST(WireLimits, bound_the_depth_of_json) {
  EXPECT_EQ(chat_refusal(R"(,"x":[[[[[[[1]]]]]]])"), "");
  expect_named(chat_refusal(R"(,"x":[[[[[[[[1]]]]]]]])"), "deeper than 8 levels", "--max-json-depth");
}

}  // namespace
}  // namespace sluice
