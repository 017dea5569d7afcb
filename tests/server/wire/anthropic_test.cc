// Anthropic's Messages API: what a request means, and the exact events of an answer.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "server/wire/answer_format.h"
#include "server/wire/anthropic_request.h"
#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<ChatRequest> messages(const json& body, bool counting = false) {
  return parse_messages_request(body.dump(), testing::small_limits(), {}, counting);
}

json variables(const json& body) {
  const auto request = messages(body);
  EXPECT_TRUE(request.ok()) << request.error().message;
  return json::parse(request->template_variables);
}

json with(const json& turns) {
  return {{"max_tokens", 5}, {"messages", turns}};
}

json turn(const std::string& role, const json& content) {
  return {{"role", role}, {"content", content}};
}

TEST(MessagesRequest, reads_system_and_turns) {
  json body = with(json::array({turn("user", "a"), turn("assistant", {{{"type", "text"}, {"text", "b"}},
                                                                      {{"type", "text"}, {"text", "c"}}})}));
  body["system"] = {{{"type", "text"}, {"text", "s"}}};
  body["stop_sequences"] = {"x"};
  const auto request = messages(body);
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->fields.max_tokens, 5);
  EXPECT_THAT(request->fields.stop, ElementsAre("x"));
  const json turns = json::parse(request->template_variables)["messages"];
  EXPECT_EQ(turns, json::array({turn("system", "s"), turn("user", "a"), turn("assistant", "b\nc")}));
}

TEST(MessagesRequest, makes_calls_and_results_messages_of_a_chat) {
  const json use = {{"type", "tool_use"}, {"id", "1"}, {"name", "f"}, {"input", {{"a", 1}}}};
  const json result = {{"type", "tool_result"}, {"tool_use_id", "1"}, {"content", "done"}};
  const json turns = variables(with(json::array(
      {turn("user", "go"), turn("assistant", json::array({{{"type", "thinking"}, {"thinking", "hm"}}, use})),
       turn("user", json::array({result, {{"type", "text"}, {"text", "and?"}}}))})))["messages"];
  ASSERT_EQ(turns.size(), 4U);
  EXPECT_EQ(turns[1]["reasoning_content"], "hm");
  EXPECT_EQ(turns[1]["tool_calls"][0]["function"]["arguments"], (json{{"a", 1}}));
  EXPECT_EQ(turns[2]["role"], "tool");
  EXPECT_EQ(turns[2]["content"], "done");
  EXPECT_EQ(turns[2]["tool_call_id"], "1");
  EXPECT_EQ(turns[3], turn("user", "and?"));
}

TEST(MessagesRequest, makes_tools_functions_and_choices_the_chats) {
  json body = with(json::array({turn("user", "a")}));
  body["tools"] = {{{"name", "f"}, {"description", "d"}, {"input_schema", {{"type", "object"}}}}};
  const auto choice = [&](const json& value) {
    body["tool_choice"] = value;
    const auto request = messages(body);
    EXPECT_TRUE(request.ok()) << request.error().message;
    return request->tools;
  };
  using Choice = ToolFields::Choice;
  EXPECT_EQ(choice({{"type", "auto"}}).choice, Choice::kAuto);
  EXPECT_EQ(choice({{"type", "any"}}).choice, Choice::kRequired);
  EXPECT_EQ(choice({{"type", "none"}}).choice, Choice::kNone);
  const ToolFields named = choice({{"type", "tool"}, {"name", "f"}, {"disable_parallel_tool_use", true}});
  EXPECT_EQ(named.choice, Choice::kNamed);
  EXPECT_FALSE(named.parallel);
  EXPECT_THAT(named.template_tools, HasSubstr(R"("description":"d","parameters":{"type":"object"})"));
}

TEST(MessagesRequest, wants_max_tokens_except_for_counting) {
  const json body{{"messages", json::array({turn("user", "a")})}};
  EXPECT_EQ(messages(body).error().param, "max_tokens");
  EXPECT_TRUE(messages(body, true).ok());
}

const Usage kUsage{.prompt_tokens = 10, .completion_tokens = 3, .cached_tokens = 4};

std::vector<std::string> types_of(const std::string& events, std::vector<json>& data) {
  std::vector<std::string> types;
  for (size_t at = 0; at < events.size();) {
    const size_t end = events.find("\n\n", at), line = events.find('\n', at);
    types.push_back(events.substr(at + 7, line - at - 7));
    data.push_back(json::parse(events.substr(line + 7, end - line - 7)));
    EXPECT_EQ(data.back()["type"], types.back());
    at = end + 2;
  }
  return types;
}

TEST(MessagesAnswer, streams_blocks_in_order) {
  const auto format = AnswerFormat::messages({.request_id = "r", .model = "m"});
  std::string out;
  const ChoiceEnd end{"tool_calls"};
  const std::vector<ToolCallPiece> calls{
      {0, "id0", "f", ""}, {0, "", "", "{\"a\":"}, {0, "", "", "1}"}, {1, "id1", "g", ""}, {1, "", "", "{}"}};
  format->append_opening(out, 0, kUsage);
  format->append_delta(out, {.reasoning = "hm"}, nullptr, nullptr);
  format->append_delta(out, {.text = "so"}, nullptr, nullptr);
  format->append_delta(out, {.text = " on"}, nullptr, nullptr);
  format->append_delta(out, {.end = &end, .tool_calls = calls}, nullptr, nullptr);
  format->append_ending(out, kUsage, {});
  std::vector<json> data;
  EXPECT_THAT(types_of(out, data),
              ElementsAre("message_start", "content_block_start", "content_block_delta", "content_block_stop",
                          "content_block_start", "content_block_delta", "content_block_delta",
                          "content_block_stop", "content_block_start", "content_block_delta",
                          "content_block_delta", "content_block_stop", "content_block_start",
                          "content_block_delta", "content_block_stop", "message_delta", "message_stop"));
  EXPECT_EQ(data[0]["message"]["usage"]["input_tokens"], 6);
  EXPECT_EQ(data[0]["message"]["usage"]["cache_read_input_tokens"], 4);
  EXPECT_EQ(data[2]["delta"], (json{{"type", "thinking_delta"}, {"thinking", "hm"}}));
  EXPECT_EQ(data[8]["content_block"],
            (json{{"type", "tool_use"}, {"id", "id0"}, {"name", "f"}, {"input", json::object()}}));
  EXPECT_EQ(data[9]["delta"]["partial_json"].get<std::string>() +
                data[10]["delta"]["partial_json"].get<std::string>(),
            "{\"a\":1}");
  EXPECT_EQ(data[12]["index"], 3);
  EXPECT_EQ(data[15]["delta"]["stop_reason"], "tool_use");
  EXPECT_EQ(data[15]["usage"]["output_tokens"], 3);
}

TEST(MessagesAnswer, has_a_block_even_without_a_word) {
  const auto format = AnswerFormat::messages({.request_id = "r", .model = "m"});
  std::string out;
  const ChoiceEnd end{"stop"};
  format->append_opening(out, 0, kUsage);
  format->append_delta(out, {.end = &end}, nullptr, nullptr);
  format->append_ending(out, kUsage, {});
  std::vector<json> data;
  EXPECT_THAT(types_of(out, data), ElementsAre("message_start", "content_block_start", "content_block_stop",
                                               "message_delta", "message_stop"));
  EXPECT_EQ(data[3]["delta"]["stop_reason"], "end_turn");
}

TEST(MessagesAnswer, is_whole_too) {
  const auto format = AnswerFormat::messages({.request_id = "r", .model = "m"});
  const std::vector<WholeChoice> choices{{.text = "hi",
                                          .end = {"stop", std::nullopt, "END"},
                                          .reasoning = "hm",
                                          .tool_calls = {{"id", "f", "{\"a\":1}"}, {"cut", "g", "{\"a\""}}}};
  const json body = json::parse(format->whole(choices, kUsage, {}));
  EXPECT_EQ(body["id"], "msg_r");
  EXPECT_EQ(body["stop_reason"], "stop_sequence");
  EXPECT_EQ(body["stop_sequence"], "END");
  ASSERT_EQ(body["content"].size(), 4U);
  EXPECT_EQ(body["content"][2]["input"], (json{{"a", 1}}));
  EXPECT_EQ(body["content"][3]["input"], json::object());
}

TEST(MessagesAnswer, breaks_off_in_anthropics_words) {
  const auto format = AnswerFormat::messages({.request_id = "r", .model = "m"});
  std::string out;
  format->append_error(out, {ErrorCode::kUnavailable, "The server stops."});
  std::vector<json> data;
  EXPECT_THAT(types_of(out, data), ElementsAre("error"));
  EXPECT_EQ(data[0]["error"]["type"], "overloaded_error");
}

}  // namespace
}  // namespace sluice
