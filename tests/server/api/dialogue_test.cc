// Reasoning and tool calls through the whole server: the engine's tokens are posted by hand.
#include <gtest/gtest.h>

#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using namespace testing;  // NOLINT: the world

const char* const kChat = "/v1/chat/completions";

std::vector<int32_t> bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

json request(json more = json::object()) {
  json body = {{"messages", json::array({{{"role", "user"}, {"content", "x"}}})},
               {"tools", json::array({{{"type", "function"}, {"function", {{"name", "f"}}}}})}};
  body.update(more);
  return body;
}

struct Talk {
  explicit Talk(DialogueFormat format)
      : world(options_with(std::move(format))), engine(world.serve_by_hand()) {}
  static ServerWorld::Options options_with(DialogueFormat format) {
    ServerWorld::Options options;
    options.load = false;
    options.dialogue = std::move(format);
    return options;
  }
  // The answer to `body` when the model says these pieces, one event each, and then ends.
  RawResponse say(const json& body, const std::vector<std::vector<int32_t>>& pieces) {
    RawClient client(world.port());
    client.send(post_request(kChat, body.dump()));
    const RequestId id = ++asked;
    engine->wait_for_request(id);
    for (const auto& piece : pieces) engine->answer(id, piece);
    engine->answer(id, {WordTokenizer::kEnd}, FinishReason::kStop, WordTokenizer::kEnd);
    return client.read_response();
  }
  ServerWorld world;
  HandEngine* engine;
  RequestId asked = 0;
};

// Hermes, its opening mark being the special token 993.
DialogueFormat special_format() {
  DialogueFormat format = *dialogue_format("hermes", "qwen3", "");
  format.marks.begin = "<|extra_993|>";
  return format;
}

const std::string kCall = R"({"name": "f", "arguments": {"a": 1}})";

TEST(Dialogue, answers_with_reasoning_content_and_calls) {
  Talk talk(special_format());
  const json body = json::parse(
      talk.say(request(),
               {bytes("<think>hm</think>\n\nSure. "), {993}, bytes("\n" + kCall + "\n</tool_call>")})
          .body);
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["content"], "Sure.");
  EXPECT_EQ(choice["message"]["reasoning"], "hm");
  EXPECT_EQ(choice["message"]["reasoning_content"], "hm");
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1U);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"],
            (json{{"name", "f"}, {"arguments", "{\"a\": 1}"}}));
  // The first mark's last byte, two bytes of thoughts, eight of the other mark.
  EXPECT_EQ(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 11);
}

TEST(Dialogue, streams_the_same_in_pieces) {
  Talk talk(special_format());
  std::vector<std::vector<int32_t>> pieces;
  for (const char c : std::string("<think>hm</think>Sure.")) pieces.push_back({c});
  pieces.push_back({993});
  for (const char c : kCall) pieces.push_back({c});
  std::string reasoning, content, arguments, id, finish;
  int deltas = 0;
  for (const std::string& event : events_of(talk.say(request({{"stream", true}}), pieces).body)) {
    if (event == "[DONE]") continue;
    const json choice = json::parse(event)["choices"][0];
    const json& delta = choice["delta"];
    reasoning += delta.value("reasoning", "");
    content += delta.value("content", "");
    for (const json& piece : delta.value("tool_calls", json::array())) {
      ++deltas;
      EXPECT_EQ(piece["index"], 0);
      id += piece.value("id", "");
      arguments += piece["function"].value("arguments", "");
    }
    if (choice["finish_reason"].is_string()) finish = choice["finish_reason"];
  }
  EXPECT_EQ(reasoning, "hm");
  EXPECT_EQ(content, "Sure.");
  EXPECT_EQ(arguments, "{\"a\": 1}");
  EXPECT_EQ(id.size(), 29U);
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_GT(deltas, 5);
}

TEST(Dialogue, never_shows_a_hidden_mark_and_loses_no_text) {
  Talk talk(special_format());
  const json message = json::parse(talk.say(request(), {{993}, bytes("oops")}).body)["choices"][0]["message"];
  EXPECT_EQ(message["content"], "oops");
  EXPECT_FALSE(message.contains("tool_calls"));
  // Without tools the mark is a special token as any other.
  const json plain = json::parse(
      talk.say(request({{"tool_choice", "none"}}), {{993}, bytes(kCall)}).body)["choices"][0]["message"];
  EXPECT_EQ(plain["content"], kCall);
}

TEST(Dialogue, counts_the_tokens_of_thoughts_that_are_cut) {
  DialogueFormat format = *dialogue_format("none", "deepseek_r1", "");
  Talk talk(format);
  const json body = json::parse(talk.say(request(), {bytes("hm"), bytes("m")}).body);
  EXPECT_EQ(body["choices"][0]["message"]["reasoning"], "hmm");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "");
  EXPECT_EQ(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
}

TEST(Dialogue, ends_after_one_call_where_no_more_are_wanted) {
  Talk talk(special_format());
  RawClient client(talk.world.port());
  client.send(post_request(kChat, request({{"parallel_tool_calls", false}}).dump()));
  std::vector<int32_t> tokens = {993};
  for (const char c : kCall + "</tool_call>") tokens.push_back(c);
  talk.engine->answer(1, tokens);
  talk.engine->wait_for_cancel(1);
  const json choice = json::parse(client.read_response().body)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["tool_calls"].size(), 1U);
}

TEST(Dialogue, hands_budget_and_marks_to_the_engine) {
  Talk talk(special_format());
  RawClient client(talk.world.port());
  client.send(post_request(kChat, request({{"thinking_token_budget", 7}}).dump()));
  const Request sent = talk.engine->wait_for_request(1);
  EXPECT_EQ(sent.thinking.tokens, 7);
  EXPECT_FALSE(sent.thinking.open);
  EXPECT_EQ(sent.thinking.end_ids, bytes("</think>"));
  EXPECT_EQ(sent.constraint, nullptr);
}

TEST(Dialogue, refuses_a_required_call_where_calls_are_not_parsed) {
  Talk talk(DialogueFormat{});
  const RawResponse response = talk.world.post(kChat, request({{"tool_choice", "required"}}));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(json::parse(response.body)["error"]["param"], "tool_choice");
}

}  // namespace
}  // namespace sluice
