// What a request says of its tokens, its time and its end: over the simulated engine.
#include <gtest/gtest.h>

#include <set>

#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using namespace testing;  // NOLINT: the world

const char* const kText = "/v1/completions";
const char* const kChat = "/v1/chat/completions";

// As RawClient sends it.
std::string delete_request(const std::string& path) {
  return "DELETE " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
}

int status_of_delete(ServerWorld& world, const std::string& path) {
  RawClient client(world.port());
  client.send(delete_request(path));
  return client.read_response().status;
}

json choice_of(ServerWorld& world, json body) {
  body.emplace("max_tokens", 40);
  body.emplace("temperature", 0.9);
  body.emplace("seed", 1);
  body.emplace("ignore_eos", true);
  body.emplace("return_token_ids", true);
  const RawResponse response = world.post(kText, body);
  EXPECT_EQ(response.status, 200) << response.body;
  return json::parse(response.body)["choices"][0];
}

TEST(RequestControl, allows_only_the_tokens_asked_for) {
  ServerWorld world;
  const json choice = choice_of(world, {{"prompt", "x"}, {"allowed_token_ids", {300, 301, 65}}});
  EXPECT_EQ(choice["token_ids"].size(), 40U);
  for (const int32_t id : choice["token_ids"]) EXPECT_TRUE(id == 300 || id == 301 || id == 65) << id;
}

TEST(RequestControl, never_says_a_bad_word) {
  ServerWorld world;
  // "ab" may not come; each letter may.
  const json choice = choice_of(
      world, {{"prompt", "x"}, {"bad_words", {"ab"}}, {"allowed_token_ids", {97, 98}}, {"max_tokens", 200}});
  const std::string text = choice["text"];
  EXPECT_EQ(text.size(), 200U);
  EXPECT_EQ(text.find("ab"), std::string::npos);
  const json single =
      choice_of(world, {{"prompt", "x"}, {"bad_words", {"a"}}, {"allowed_token_ids", {97, 98}}});
  EXPECT_EQ(single["text"], std::string(40, 'b'));
}

TEST(RequestControl, truncates_a_prompt_on_the_side_asked_for) {
  ServerWorld world;
  const std::vector<int32_t> ids{300, 301, 302, 303, 304};
  const auto prompt = [&](json fields) {
    fields["prompt"] = ids;
    return choice_of(world, fields)["prompt_token_ids"].get<std::vector<int32_t>>();
  };
  EXPECT_EQ(prompt(json::object()), ids);
  EXPECT_EQ(prompt({{"truncate_prompt_tokens", 2}}), (std::vector<int32_t>{303, 304}));
  EXPECT_EQ(prompt({{"truncate_prompt_tokens", 2}, {"truncation_side", "right"}}),
            (std::vector<int32_t>{300, 301}));
  // -1 leaves room for the answer.
  const std::vector<int32_t> long_prompt(600, 300);
  const RawResponse response =
      world.post(kText, {{"prompt", long_prompt}, {"max_tokens", 12}, {"truncate_prompt_tokens", -1}});
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(json::parse(response.body)["usage"]["prompt_tokens"], 500);
}

TEST(RequestControl, returns_token_ids_whole_and_streamed) {
  ServerWorld world;
  json body{{"prompt", {300, 301}}, {"max_tokens", 12}, {"temperature", 0}, {"return_token_ids", true}};
  const auto expected = world.expected({300, 301}, 12);
  EXPECT_EQ(json::parse(world.post(kText, body).body)["choices"][0]["token_ids"], json(expected));
  body["stream"] = true;
  std::vector<int32_t> streamed, prompt;
  for (const std::string& event : events_of(world.post(kText, body).body)) {
    if (event == "[DONE]") continue;
    const json choice = json::parse(event)["choices"][0];
    for (const int32_t id : choice["token_ids"]) streamed.push_back(id);
    for (const int32_t id : choice.value("prompt_token_ids", json::array())) prompt.push_back(id);
  }
  EXPECT_EQ(streamed, expected);
  EXPECT_EQ(prompt, (std::vector<int32_t>{300, 301}));
  const json chat =
      json::parse(world
                      .post(kChat, {{"messages", json::array({{{"role", "user"}, {"content", "x"}}})},
                                    {"max_tokens", 5},
                                    {"return_token_ids", true}})
                      .body);
  EXPECT_EQ(chat["choices"][0]["token_ids"].size(), chat["usage"]["completion_tokens"]);
  EXPECT_EQ(chat["prompt_token_ids"].size(), chat["usage"]["prompt_tokens"]);
}

TEST(RequestControl, ends_at_its_deadline) {
  ServerWorld::Options options;
  options.runner.cost.step_seconds = 0.005;
  ServerWorld world(options);
  const json body{{"prompt", "x"}, {"max_tokens", 500}, {"ignore_eos", true}, {"timeout", 0.05}};
  const RawResponse response = world.post(kText, body);
  EXPECT_EQ(response.status, 504) << response.body;
  world.wait_until_idle();
}

TEST(RequestControl, delete_ends_a_stream_with_what_it_has) {
  ServerWorld::Options options;
  options.runner.cost.step_seconds = 0.005;
  ServerWorld world(options);
  RawClient client(world.port());
  const json body{{"prompt", "x"}, {"max_tokens", 500}, {"ignore_eos", true}, {"stream", true}, {"n", 2}};
  client.send(post_request(kText, body.dump(), "x-request-id: mine\r\n"));
  ASSERT_TRUE(client.wait_for("data: "));
  EXPECT_EQ(status_of_delete(world, "/v1/completions/cmpl-mine"), 200);
  const auto events = events_of(client.read_response().body);
  ASSERT_GE(events.size(), 3U);
  EXPECT_EQ(events.back(), "[DONE]");
  std::set<int> aborted;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    const json choice = json::parse(event)["choices"][0];
    if (choice["finish_reason"] == "abort") aborted.insert(choice["index"].get<int>());
  }
  EXPECT_EQ(aborted, (std::set<int>{0, 1}));
  world.wait_until_idle();
  EXPECT_EQ(status_of_delete(world, "/v1/completions/cmpl-mine"), 404);
}

TEST(RequestControl, delete_ends_an_answer_that_is_not_streamed) {
  ServerWorld::Options options;
  options.runner.cost.step_seconds = 0.005;
  ServerWorld world(options);
  RawClient client(world.port());
  const json body{{"prompt", "x"}, {"max_tokens", 500}, {"ignore_eos", true}};
  client.send(post_request(kText, body.dump(), "x-request-id: other\r\n"));
  while (world.engine().stats().running == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(status_of_delete(world, "/v1/completions/other"), 200);
  const json answer = json::parse(client.read_response().body);
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "abort");
  EXPECT_LT(answer["usage"]["completion_tokens"], 500);
}

TEST(RequestControl, names_the_field_at_fault) {
  ServerWorld world;
  const std::vector<std::pair<std::string, json>> wrong{{"allowed_token_ids", json::array()},
                                                        {"allowed_token_ids", {1000}},
                                                        {"allowed_token_ids", "a"},
                                                        {"bad_words", {""}},
                                                        {"bad_words", {5}},
                                                        {"bad_words", "word"},
                                                        {"truncate_prompt_tokens", 0},
                                                        {"truncate_prompt_tokens", -2},
                                                        {"truncation_side", "middle"},
                                                        {"timeout", 0},
                                                        {"timeout", "soon"},
                                                        {"return_token_ids", 1}};
  for (const auto& [field, value] : wrong) {
    const RawResponse response = world.post(kText, {{"prompt", "x"}, {field, value}});
    EXPECT_EQ(response.status, 400) << field << " " << value;
    EXPECT_EQ(json::parse(response.body)["error"]["param"], field) << response.body;
  }
}

TEST(RequestControl, gives_a_well_formed_trace_back) {
  ServerWorld world;
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const auto answer = [&](const std::string& header) {
    return world.post(kText, {{"prompt", "x"}, {"max_tokens", 1}}, "traceparent: " + header + "\r\n").headers;
  };
  EXPECT_EQ(answer(trace).at("traceparent"), trace);
  for (const char* bad : {"", "00-0-0-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                          "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                          "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"}) {
    EXPECT_FALSE(answer(bad).contains("traceparent")) << bad;
  }
}

}  // namespace
}  // namespace sluice
