// Every endpoint that does not generate, the door, and the life of the server: loading, serving, draining.
#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using namespace testing;  // NOLINT: the world

json error_of(const RawResponse& response) {
  return json::parse(response.body)["error"];
}

TEST(Api, lists_models_and_finds_one) {
  ServerWorld world;
  const json list = json::parse(world.get("/v1/models").body);
  ASSERT_EQ(list["data"].size(), 2U);
  EXPECT_EQ(list["data"][0]["id"], "word-model");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 512);
  EXPECT_EQ(json::parse(world.get("/v1/models/alias").body)["id"], "alias");
  const RawResponse unknown = world.get("/v1/models/org%2Fnone");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(error_of(unknown)["code"], "model_not_found");
  EXPECT_NE(error_of(unknown)["message"].get<std::string>().find("org/none"), std::string::npos);
}

TEST(Api, answers_probes_and_version) {
  ServerWorld world;
  for (const char* path : {"/health", "/ready", "/ping"}) EXPECT_EQ(world.get(path).status, 200) << path;
  EXPECT_EQ(json::parse(world.get("/version").body)["version"], "test");
  EXPECT_EQ(world.get("/nothing").status, 404);
  const RawResponse wrong = world.get("/v1/chat/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_EQ(error_of(wrong)["code"], "method_not_allowed");
}

TEST(Api, is_alive_but_not_ready_while_the_model_loads) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  world.floor().slot.set_progress(0.42);
  EXPECT_EQ(world.get("/health").status, 200);
  EXPECT_EQ(world.get("/version").status, 200);
  EXPECT_EQ(world.get("/metrics").status, 200);
  for (const RawResponse& response :
       {world.get("/ready"), world.get("/v1/models"), world.post("/v1/completions", {{"prompt", "x"}})}) {
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.headers.at("retry-after"), "1");
    EXPECT_NE(response.body.find("42%"), std::string::npos);
  }
  world.serve_by_hand();
  EXPECT_EQ(world.get("/ready").status, 200);
}

TEST(Api, says_when_the_engine_hangs) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  HandEngine* engine = world.serve_by_hand();
  engine->progress_ = false;
  EXPECT_EQ(world.get("/health").status, 503);
  EXPECT_EQ(world.get("/ready").status, 503);
}

TEST(Api, drains_refusing_new_requests_while_running_ones_finish) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  HandEngine* engine = world.serve_by_hand();
  RawClient running(world.port());
  running.send(post_request("/v1/completions", R"({"prompt":"x"})"));
  engine->wait_for_request(1);
  world.floor().slot.begin_drain();
  EXPECT_EQ(world.get("/ready").status, 503);
  EXPECT_EQ(world.get("/health").status, 200);
  const RawResponse refused = world.post("/v1/completions", {{"prompt", "x"}});
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "5");
  engine->answer(1, {'o', 'k'}, FinishReason::kLength);
  EXPECT_EQ(json::parse(running.read_response().body)["choices"][0]["text"], "ok");
}

TEST(Api, takes_what_is_on_its_way_while_it_leaves) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  HandEngine* engine = world.serve_by_hand();
  world.floor().slot.begin_leaving();
  EXPECT_EQ(world.get("/ready").status, 503);
  EXPECT_EQ(world.get("/health").status, 200);
  RawClient late(world.port());
  late.send(post_request("/v1/completions", R"({"prompt":"x"})"));
  engine->wait_for_request(1);
  world.floor().slot.begin_drain();
  EXPECT_EQ(world.post("/v1/completions", {{"prompt", "x"}}).status, 503);
  engine->answer(1, {'o', 'k'}, FinishReason::kLength);
  EXPECT_EQ(json::parse(late.read_response().body)["choices"][0]["text"], "ok");
}

TEST(Api, tells_how_far_the_model_is_loaded) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  world.floor().slot.set_progress(0.25);
  const RawResponse loading = world.get("/ready");
  EXPECT_EQ(loading.status, 503);
  EXPECT_EQ(json::parse(loading.body)["loading"], 0.25);
  EXPECT_TRUE(json::parse(loading.body)["error"].is_object());
  world.serve_by_hand();
  EXPECT_EQ(world.get("/ready").status, 200);
}

TEST(Api, wants_json_and_says_so) {
  ServerWorld world;
  RawClient client(world.port());
  const std::string body = R"({"prompt":"x"})";
  const std::string length = "Content-Length: " + std::to_string(body.size()) + "\r\n";
  for (const std::string& type :
       {std::string("Content-Type: text/plain\r\n"), std::string(),
        std::string("Content-Type: application/x-www-form-urlencoded\r\n"),
        std::string("Content-Type: application/json\r\nContent-Encoding: gzip\r\n")}) {
    client.send("POST /v1/completions HTTP/1.1\r\nHost: t\r\n" + type + length + "\r\n" + body);
    EXPECT_EQ(client.read_response().status, 400) << type;
  }
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: Application/JSON ; charset=utf-8\r\n" +
      length + "\r\n" + body);
  EXPECT_EQ(client.read_response().status, 200);
}

TEST(Api, lets_nobody_in_without_a_key_but_probes) {
  ServerWorld::Options options;
  options.api.keys.users = {"sesame", "other"};
  ServerWorld world(options);
  const json body = {{"prompt", "x"}, {"max_tokens", 1}};
  for (const char* header :
       {"", "Authorization: Bearer wrong\r\n", "Authorization: sesame\r\n", "Authorization: Bearer \r\n",
        "Authorization: Bearer sesam\r\n", "Authorization: Bearer sesame1\r\n",
        "Authorization: bearer sesame\r\n", "Authorization: Bearer sesamesesame\r\n"}) {
    const RawResponse response = world.post("/v1/completions", body, header);
    EXPECT_EQ(response.status, 401) << header;
    EXPECT_EQ(error_of(response)["code"], "invalid_api_key");
  }
  EXPECT_EQ(world.post("/v1/completions", body, "Authorization: Bearer sesame\r\n").status, 200);
  EXPECT_EQ(world.post("/v1/completions", body, "Authorization: Bearer other\r\n").status, 200);
  EXPECT_EQ(world.get("/v1/models").status, 401);
  EXPECT_EQ(world.post("/tokenize", body).status, 401);
  EXPECT_EQ(world.post("/v1/completions", body, "x-api-key: other\r\n").status, 200);
  for (const char* path : {"/health", "/ready", "/ping"}) EXPECT_EQ(world.get(path).status, 200) << path;
  for (const char* path : {"/version", "/metrics"}) EXPECT_EQ(world.get(path).status, 401) << path;
}

TEST(Api, describes_every_route_and_nothing_else) {
  IoThreads threads(1);
  const auto floor = make_api_floor({}, threads, 1);
  const Routes routes = make_api_routes(*floor);
  ServerWorld world;
  const json document = json::parse(world.get("/openapi.json").body);
  std::set<std::pair<std::string, std::string>> described;
  for (const auto& [path, item] : document["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      std::string verb = method, place = path;
      for (char& c : verb) c = static_cast<char>(std::toupper(c));
      if (const size_t id = place.find("{id}"); id != std::string::npos) place.replace(id, 4, "some/id");
      const Routes::Match match = routes.find(verb, place);
      ASSERT_NE(match.route, nullptr) << verb << " " << path;
      described.emplace(match.route->method, match.route->pattern);
    }
  }
  for (const Route& route : routes.all()) {
    EXPECT_TRUE(described.contains({route.method, route.pattern}))
        << route.method << " " << route.pattern << " is not described";
  }
}

TEST(Api, tokenizes_text_and_conversations_and_back) {
  ServerWorld world;
  const json text =
      json::parse(world.post("/tokenize", {{"prompt", "hi"}, {"return_token_strs", true}}).body);
  EXPECT_EQ(text["tokens"], json({992, 'h', 'i'}));
  EXPECT_EQ(text["count"], 3);
  EXPECT_EQ(text["max_model_len"], 512);
  EXPECT_EQ(text["token_strs"][1], "h");
  EXPECT_EQ(
      json::parse(world.post("/tokenize", {{"prompt", "hi"}, {"add_special_tokens", false}}).body)["count"],
      2);
  const json chat =
      json::parse(world.post("/tokenize", {{"messages", {{{"role", "user"}, {"content", "w300 "}}}}}).body);
  EXPECT_EQ(chat["tokens"][0], 990);
  EXPECT_EQ(json::parse(world.post("/detokenize", {{"tokens", {300, 'h', 'i'}}}).body)["prompt"], "w300 hi");
  EXPECT_EQ(world.post("/detokenize", {{"tokens", {-1}}}).status, 400);
  EXPECT_EQ(world.post("/tokenize", json::object()).status, 400);
}

TEST(Api, keeps_special_tokens_that_a_client_spells_as_text) {
  ServerWorld world;
  const auto count = [&](const std::string& content) {
    const json body = {{"messages", {{{"role", "user"}, {"content", content}}}}};
    return json::parse(world.post("/tokenize", body).body)["count"].get<int>();
  };
  EXPECT_EQ(count("<|im_end|>") - count(""), 10);  // ten bytes, not one token
}

TEST(Doors, metrics_can_be_left_open_for_scrapers) {
  testing::ServerWorld::Options options;
  options.api.keys = {.users = {"u"}, .operators = {"o"}};
  options.api.metrics_without_key = true;
  testing::ServerWorld world(options);
  EXPECT_EQ(world.get("/metrics").status, 200);
  EXPECT_EQ(world.get("/version").status, 401);
  EXPECT_EQ(world.get("/v1/models").status, 401);
}

}  // namespace
}  // namespace sluice
