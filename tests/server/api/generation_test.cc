// Requests that generate, from the socket through the engine and back.
#include <gtest/gtest.h>

#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using namespace testing;  // NOLINT: the world

const char* const kText = "/v1/completions";
const char* const kChat = "/v1/chat/completions";

json error_of(const RawResponse& response) {
  return json::parse(response.body)["error"];
}

struct Hand {
  Hand() : world(unloaded()), engine(world.serve_by_hand()) {}
  static ServerWorld::Options unloaded() {
    ServerWorld::Options options;
    options.load = false;
    return options;
  }
  // Sends and leaves the answer to be read later.
  std::unique_ptr<RawClient> ask(const char* path, const json& body) {
    auto client = std::make_unique<RawClient>(world.port());
    client->send(post_request(path, body.dump()));
    return client;
  }
  ServerWorld world;
  HandEngine* engine;
};

json user(const std::string& content) {
  return json::array({{{"role", "user"}, {"content", content}}});
}

TEST(Generation, answers_a_completion_with_the_engines_tokens) {
  ServerWorld world;
  const std::vector<int32_t> answer = world.expected({'a', 'b', 'c'}, 20);
  const RawResponse response = world.post(
      kText, {{"prompt", {'a', 'b', 'c'}}, {"max_tokens", 20}, {"temperature", 0}, {"model", "alias"}});
  ASSERT_EQ(response.status, 200) << response.body;
  const json body = json::parse(response.body);
  EXPECT_EQ(body["model"], "alias");
  EXPECT_EQ(body["choices"][0]["text"], text_of(answer));
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], answer.size());
  EXPECT_EQ(body["usage"]["total_tokens"], 3 + answer.size());
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_GE(body["timings"]["decode_ms"].get<double>(), 0);
  EXPECT_EQ(body["id"], "cmpl-" + response.headers.at("x-request-id"));
}

TEST(Generation, streams_the_same_text_as_it_answers_whole) {
  ServerWorld world;
  for (int seed = 0; seed < 20; ++seed) {
    json body = {{"messages", user("question " + std::to_string(seed))},
                 {"max_tokens", 30},
                 {"seed", seed},
                 {"temperature", 1}};
    const json whole = json::parse(world.post(kChat, body).body);
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    const RawResponse response = world.post(kChat, body);
    EXPECT_EQ(response.headers.at("content-type"), "text/event-stream; charset=utf-8");
    const auto events = events_of(response.body);
    ASSERT_GE(events.size(), 4U);
    EXPECT_EQ(events.back(), "[DONE]");
    const json first = json::parse(events[0]);
    EXPECT_EQ(first["choices"][0]["delta"], json({{"role", "assistant"}, {"content", ""}}));
    std::string text, finish;
    for (size_t i = 0; i + 2 < events.size(); ++i) {
      const json chunk = json::parse(events[i]);
      EXPECT_TRUE(chunk["usage"].is_null());
      const json& choice = chunk["choices"][0];
      text += choice["delta"].value("content", "");
      if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
    }
    EXPECT_EQ(text, whole["choices"][0]["message"]["content"]);
    EXPECT_EQ(finish, whole["choices"][0]["finish_reason"]);
    const json last = json::parse(events[events.size() - 2]);
    EXPECT_TRUE(last["choices"].empty());
    EXPECT_EQ(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    EXPECT_TRUE(last.contains("timings"));
  }
}

TEST(Generation, gives_64_parallel_streams_each_its_own_exact_text) {
  ServerWorld::Options options;
  options.io_threads = 2;
  ServerWorld world(options);
  std::vector<std::thread> clients;
  std::vector<std::string> got(64), wanted(64);
  for (int i = 0; i < 64; ++i) {
    std::vector<int32_t> prompt;
    for (int j = 0; j < 5 + i * 3; ++j) prompt.push_back(256 + (i * 37 + j * (j % 3 == 0 ? 1 : i)) % 700);
    wanted[static_cast<size_t>(i)] = text_of(world.expected(prompt, 40));
    clients.emplace_back([&, i, prompt] {
      const json body = {{"prompt", prompt}, {"max_tokens", 40}, {"temperature", 0}, {"stream", true}};
      for (const std::string& event : events_of(world.post(kText, body).body)) {
        if (event != "[DONE]") got[static_cast<size_t>(i)] += json::parse(event)["choices"][0]["text"];
      }
    });
  }
  for (auto& client : clients) client.join();
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(got[i], wanted[i]) << "stream " << i;
  world.wait_until_idle();
  EXPECT_EQ(world.engine().stats().kv_blocks_used, 0);
}

TEST(Generation, finds_a_shared_prefix_in_the_cache) {
  ServerWorld world;
  const json body = {{"prompt", std::string(100, 'p')}, {"max_tokens", 1}, {"temperature", 0}};
  EXPECT_EQ(json::parse(world.post(kText, body).body)["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(json::parse(world.post(kText, body).body)["usage"]["prompt_tokens_details"]["cached_tokens"], 96);
  json salted = body;
  salted["cache_salt"] = "mine";
  EXPECT_EQ(json::parse(world.post(kText, salted).body)["usage"]["prompt_tokens_details"]["cached_tokens"],
            0);
}

TEST(Generation, gives_n_choices_that_compute_a_long_prompt_once) {
  ServerWorld world;
  const json body = {
      {"prompt", std::string(200, 'p')}, {"max_tokens", 8}, {"n", 4}, {"seed", 5}, {"temperature", 1}};
  const json one = json::parse(world.post(kText, body).body);
  ASSERT_EQ(one["choices"].size(), 4U);
  std::set<std::string> texts;
  for (const json& choice : one["choices"]) texts.insert(choice["text"].get<std::string>());
  EXPECT_GT(texts.size(), 1U);
  EXPECT_EQ(one["usage"]["prompt_tokens"], 201);
  EXPECT_EQ(json::parse(world.post(kText, body).body)["choices"], one["choices"]);
  EXPECT_GE(world.engine().stats().prefix_cache_hits, 3U * 192U);
}

TEST(Generation, gives_each_prompt_its_choice_in_order) {
  ServerWorld world;
  const json body = {
      {"prompt", {{1, 2}, {3, 4, 5}}}, {"max_tokens", 5}, {"temperature", 0}, {"n", 2}, {"stream", true}};
  std::map<int, std::string> texts;
  for (const std::string& event : events_of(world.post(kText, body).body)) {
    if (event == "[DONE]") continue;
    const json choice = json::parse(event)["choices"][0];
    texts[choice["index"]] += choice["text"];
  }
  ASSERT_EQ(texts.size(), 4U);
  EXPECT_EQ(texts[0], text_of(world.expected({1, 2}, 5)));
  EXPECT_EQ(texts[1], texts[0]);
  EXPECT_EQ(texts[2], text_of(world.expected({3, 4, 5}, 5)));
}

TEST(Generation, holds_half_a_character_and_half_a_stop_string_back) {
  Hand hand;
  auto client = hand.ask(kText, {{"prompt", "x"}, {"stream", true}, {"stop", {"END"}}});
  hand.engine->answer(1, {0xf0, 0x9f});
  hand.engine->answer(1, {0xa6, 0x99});
  ASSERT_TRUE(client->wait_for("🦙"));
  hand.engine->answer(1, {'a', 'E', 'N'});
  ASSERT_TRUE(client->wait_for("\"text\":\"a\""));
  hand.engine->answer(1, {'x'});
  ASSERT_TRUE(client->wait_for("\"text\":\"ENx\""));
  hand.engine->answer(1, {'b', 'E'});
  hand.engine->answer(1, {'N', 'D', 'z'});
  hand.engine->wait_for_cancel(1);
  const auto events = events_of(client->read_response().body);
  const json last = json::parse(events[events.size() - 2]);
  EXPECT_EQ(last["choices"][0]["text"], "");
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(last["choices"][0]["stop_reason"], "END");
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST(Generation, drops_the_token_that_ended_the_answer) {
  Hand hand;
  const json body = {{"prompt", "x"}, {"stop_token_ids", {300}}};
  auto by_id = hand.ask(kText, body);
  hand.engine->answer(1, {'a', 300}, FinishReason::kStop, 300);
  json answer = json::parse(by_id->read_response().body);
  EXPECT_EQ(answer["choices"][0]["text"], "a");
  EXPECT_EQ(answer["choices"][0]["stop_reason"], 300);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 2);

  auto by_eos = hand.ask(kText, body);
  hand.engine->answer(2, {'b', WordTokenizer::kEnd}, FinishReason::kStop, WordTokenizer::kEnd);
  answer = json::parse(by_eos->read_response().body);
  EXPECT_EQ(answer["choices"][0]["text"], "b");
  EXPECT_TRUE(answer["choices"][0]["stop_reason"].is_null());

  auto kept =
      hand.ask(kText, {{"prompt", "x"}, {"stop_token_ids", {300}}, {"include_stop_str_in_output", true}});
  hand.engine->answer(3, {'c', 300}, FinishReason::kStop, 300);
  EXPECT_EQ(json::parse(kept->read_response().body)["choices"][0]["text"], "cw300 ");
}

TEST(Generation, tells_logprobs_of_the_tokens_it_shows) {
  Hand hand;
  auto client = hand.ask(kChat, {{"messages", user("x")}, {"logprobs", true}, {"top_logprobs", 2}});
  hand.engine->answer(1, {'h', 300, WordTokenizer::kEnd}, FinishReason::kStop, WordTokenizer::kEnd);
  const json content = json::parse(client->read_response().body)["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2U);
  EXPECT_EQ(content[1]["token"], "w300 ");
  EXPECT_EQ(content[1]["bytes"], json({'w', '3', '0', '0', ' '}));
  EXPECT_EQ(content[1]["logprob"], -0.5);
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "A");
  EXPECT_EQ(hand.engine->wait_for_request(1).sampling.logprobs, 2);
}

TEST(Generation, repeats_the_prompt_when_asked_to) {
  Hand hand;
  auto text = hand.ask(kText, {{"prompt", "Once "}, {"echo", true}});
  hand.engine->answer(1, {'u', 'p'}, FinishReason::kLength);
  EXPECT_EQ(json::parse(text->read_response().body)["choices"][0]["text"], "Once up");
  auto ids = hand.ask(kText, {{"prompt", {300, 'a'}}, {"echo", true}, {"stream", true}});
  hand.engine->answer(2, {'b'}, FinishReason::kLength);
  EXPECT_EQ(json::parse(events_of(ids->read_response().body)[0])["choices"][0]["text"], "w300 ab");
}

TEST(Generation, hands_the_engine_what_was_asked) {
  Hand hand;
  auto client = hand.ask(kText, {{"prompt", "ab"},
                                 {"max_tokens", 9},
                                 {"temperature", 0.25},
                                 {"top_p", 0.5},
                                 {"top_k", 7},
                                 {"min_p", 0.125},
                                 {"seed", 11},
                                 {"min_tokens", 3},
                                 {"ignore_eos", true},
                                 {"priority", -2},
                                 {"repetition_penalty", 1.5},
                                 {"presence_penalty", 0.5},
                                 {"frequency_penalty", -0.5},
                                 {"logit_bias", {{"5", 1.5}}},
                                 {"cache_salt", "s"},
                                 {"logprobs", 3}});
  const Request request = hand.engine->wait_for_request(1);
  EXPECT_EQ(request.prompt, (std::vector<int32_t>{992, 'a', 'b'}));
  const SamplingParams& s = request.sampling;
  EXPECT_EQ(s.max_tokens, 9);
  EXPECT_EQ(s.temperature, 0.25F);
  EXPECT_EQ(s.top_p, 0.5F);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_EQ(s.min_p, 0.125F);
  EXPECT_EQ(s.seed, 11U);
  EXPECT_EQ(s.min_tokens, 3);
  EXPECT_TRUE(s.ignore_eos);
  EXPECT_EQ(s.repetition_penalty, 1.5F);
  EXPECT_EQ(s.presence_penalty, 0.5F);
  EXPECT_EQ(s.frequency_penalty, -0.5F);
  EXPECT_EQ(s.logprobs, 3);
  EXPECT_EQ(s.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, 1.5F}}));
  EXPECT_EQ(request.priority, -2);
  EXPECT_NE(request.cache_salt, 0U);
}

TEST(Generation, takes_the_rest_of_the_context_for_a_chat_without_max_tokens) {
  Hand hand;
  auto client = hand.ask(kChat, {{"messages", user("hello")}});
  const Request request = hand.engine->wait_for_request(1);
  EXPECT_EQ(request.sampling.max_tokens + static_cast<int>(request.prompt.size()), 512);
}

TEST(Generation, tells_both_lengths_of_a_prompt_over_the_context) {
  ServerWorld world;
  const RawResponse prompt = world.post(kText, {{"prompt", std::vector<int>(700, 5)}});
  EXPECT_EQ(prompt.status, 400);
  EXPECT_EQ(error_of(prompt)["code"], "context_length_exceeded");
  EXPECT_EQ(error_of(prompt)["param"], "prompt");
  const std::string message = error_of(prompt)["message"];
  EXPECT_NE(message.find("512"), std::string::npos);
  EXPECT_NE(message.find("700"), std::string::npos);
  EXPECT_EQ(error_of(world.post(kText, {{"prompt", "x"}, {"max_tokens", 512}}))["code"],
            "context_length_exceeded");
  const RawResponse chat = world.post(kChat, {{"messages", user(std::string(6000, 'x'))}});  // on the pool
  EXPECT_EQ(error_of(chat)["param"], "messages");
  EXPECT_EQ(error_of(chat)["code"], "context_length_exceeded");
}

TEST(Generation, refuses_an_unknown_model_naming_those_it_has) {
  ServerWorld world;
  const RawResponse response = world.post(kText, {{"prompt", "x"}, {"model", "gpt-nobody"}});
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(error_of(response)["code"], "model_not_found");
  const std::string message = error_of(response)["message"];
  EXPECT_NE(message.find("gpt-nobody"), std::string::npos);
  EXPECT_NE(message.find("alias"), std::string::npos);
}

TEST(Generation, passes_the_engines_refusal_on) {
  Hand hand;
  hand.engine->refuse({ErrorCode::kOverloaded, "The queue is full.", "", 7});
  const RawResponse response = hand.world.post(kChat, {{"messages", user("x")}, {"stream", true}});
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.at("retry-after"), "7");
  EXPECT_EQ(error_of(response)["type"], "rate_limit_error");
}

TEST(Generation, answers_a_failure_before_the_first_token_with_a_status) {
  Hand hand;
  auto client = hand.ask(kText, {{"prompt", "x"}, {"stream", true}});
  hand.engine->answer(1, {}, FinishReason::kDeadline);
  EXPECT_EQ(client->read_response().status, 504);
}

TEST(Generation, ends_a_stream_that_fails_with_an_error_and_no_done) {
  Hand hand;
  auto client = hand.ask(kText, {{"prompt", "x"}, {"stream", true}});
  hand.engine->answer(1, {'a'});
  hand.engine->answer(1, {}, FinishReason::kError, -1, {ErrorCode::kInternal, "It broke."});
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.complete);
  const auto events = events_of(response.body);
  EXPECT_EQ(json::parse(events.back())["error"]["message"], "It broke.");
}

TEST(Generation, cancels_all_choices_when_one_fails) {
  Hand hand;
  auto client = hand.ask(kText, {{"prompt", "x"}, {"n", 3}});
  hand.engine->wait_for_request(3);
  hand.engine->answer(2, {}, FinishReason::kError, -1, {ErrorCode::kInternal, "It broke."});
  EXPECT_EQ(client->read_response().status, 500);
  hand.engine->wait_for_cancel(1);
  hand.engine->wait_for_cancel(3);
}

TEST(Generation, cancels_when_the_client_leaves_streaming_or_not) {
  Hand hand;
  RequestId id = 0;
  for (const bool stream : {false, true}) {
    auto client = hand.ask(kText, {{"prompt", "x"}, {"stream", stream}, {"n", 2}});
    hand.engine->answer(++id, {'a'});
    hand.engine->wait_for_request(++id);
    client->close();
    hand.engine->wait_for_cancel(id - 1);
    hand.engine->wait_for_cancel(id);
  }
}

TEST(Generation, frees_the_engine_when_many_clients_leave) {
  ServerWorld::Options options;
  options.runner.cost.step_seconds = 0.002;
  ServerWorld world(options);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 30; ++i) {
      clients.push_back(std::make_unique<RawClient>(world.port()));
      clients.back()->send(post_request(kText, json{{"prompt", "p" + std::to_string(i)},
                                                    {"max_tokens", 500},
                                                    {"ignore_eos", true},
                                                    {"stream", i % 2 == 0}}
                                                   .dump()));
    }
    for (size_t i = 0; i < clients.size(); i += 2) EXPECT_TRUE(clients[i]->wait_for("data: "));
    for (auto& client : clients) round == 1 ? client->reset() : client->close();
    world.wait_until_idle();
    EXPECT_EQ(world.engine().stats().kv_blocks_used, 0);
  }
}

TEST(Generation, cancels_a_stream_that_nobody_reads) {
  ServerWorld::Options options;
  options.listen.max_unsent_bytes = 2000;
  ServerWorld world(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<RawClient>(world.port(), 2048));
    clients.back()->send(post_request(
        kText, json{{"prompt", "p"}, {"max_tokens", 500}, {"ignore_eos", true}, {"stream", true}}.dump()));
  }
  EXPECT_EQ(world.post(kText, {{"prompt", "x"}, {"max_tokens", 5}}).status, 200);
  world.wait_until_idle();  // finished or cancelled, either way nothing waits for a reader
}

TEST(Generation, reports_usage_in_every_chunk_when_asked) {
  Hand hand;
  auto client = hand.ask(
      kText, {{"prompt", "x"}, {"stream", true}, {"stream_options", {{"continuous_usage_stats", true}}}});
  hand.engine->answer(1, {'a'});
  ASSERT_TRUE(client->wait_for("\"text\":\"a\""));
  hand.engine->answer(1, {'b'}, FinishReason::kLength);
  const auto events = events_of(client->read_response().body);
  EXPECT_EQ(json::parse(events[0])["usage"]["completion_tokens"], 1);
  EXPECT_EQ(json::parse(events[1])["usage"]["completion_tokens"], 2);
  EXPECT_TRUE(json::parse(events[1]).contains("timings"));
}

}  // namespace
}  // namespace sluice
