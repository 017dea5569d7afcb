// Responses that are kept, go on in the background, and end badly: the store alone, and the server over an
// engine whose answers the test gives.
#include <gtest/gtest.h>

#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using namespace testing;  // NOLINT: the world

const char* const kPath = "/v1/responses";

std::string id_of(int number) {
  return std::string(29, '0') + std::to_string(100 + number);
}

void keep(ResponseStore& store, int number, const std::string& text,
          std::shared_ptr<const ResponseTurn> before = nullptr) {
  store.begin({{id_of(number), "m", 1, ""}, R"({"id":"in","text":")" + text + R"("})", std::move(before)});
  store.finish(id_of(number),
               {"body " + text, R"({"id":"msg_)" + id_of(number) + R"(_0","text":")" + text + R"("})"});
}

TEST(ResponseStore, keeps_the_latest_within_its_bytes) {
  ResponseStore store(100'000);
  for (int i = 0; i < 200; ++i) keep(store, i, std::string(1000, 'x'));
  EXPECT_LE(store.bytes(), 100'000U);
  EXPECT_LT(store.count(), 60U);
  EXPECT_GT(store.count(), 10U);
  EXPECT_FALSE(store.body(id_of(0)));
  EXPECT_TRUE(store.body(id_of(199)));
  for (int i = 0; i < 200; ++i) store.erase(id_of(i));
  EXPECT_EQ(store.bytes(), 0U);
}

TEST(ResponseStore, keeps_what_was_asked_for_rather_than_what_was_not) {
  ResponseStore store(100'000);
  keep(store, 0, "dear");
  for (int i = 1; i < 200; ++i) {
    keep(store, i, std::string(1000, 'x'));
    EXPECT_TRUE(store.body(id_of(0)));
  }
}

TEST(ResponseStore, counts_turns_that_later_ones_stand_on) {
  ResponseStore store(1'000'000);
  keep(store, 0, std::string(1000, 'a'));
  keep(store, 1, "b", *store.turn("resp_" + id_of(0)));
  EXPECT_TRUE(store.erase(id_of(0)));
  EXPECT_GT(store.bytes(), 2000U);  // its words are still told to the model
  EXPECT_GT((*store.turn("resp_" + id_of(1)))->before->items.size(), 2000U);
  EXPECT_TRUE(store.erase(id_of(1)));
  EXPECT_EQ(store.bytes(), 0U);
}

TEST(ResponseStore, lets_go_of_a_very_long_conversation) {
  ResponseStore store(size_t{1} << 30);
  keep(store, 0, "x");
  for (int i = 1; i < 200'000; ++i) {
    auto before = *store.turn("resp_" + id_of(i - 1));
    store.erase(id_of(i - 1));
    keep(store, i, "x", std::move(before));
  }
  store.erase(id_of(199'999));
  EXPECT_EQ(store.bytes(), 0U);
}

TEST(ResponseStore, finds_items_by_their_ids) {
  ResponseStore store(1'000'000);
  keep(store, 7, "x");
  const std::string item = "msg_" + id_of(7) + "_0";
  ASSERT_TRUE(store.item(item));
  EXPECT_EQ(json::parse(*store.item(item))["id"], item);
  for (const std::string& other : {"msg_" + id_of(7) + "_1", "msg_" + id_of(8) + "_0", std::string("msg_"),
                                   std::string("x"), std::string()})
    EXPECT_FALSE(store.item(other)) << other;
}

TEST(ResponseStore, forgets_those_not_to_be_stored_and_those_without_an_end) {
  ResponseStore store(1'000'000);
  RunningResponse passing{{id_of(1), "m", 1, ""}, "", nullptr, false};
  store.begin(passing);
  EXPECT_TRUE(store.body(id_of(1)));
  EXPECT_FALSE(store.turn("resp_" + id_of(1)).ok());
  store.finish(id_of(1), {"body", ""});
  EXPECT_FALSE(store.body(id_of(1)));
  store.begin(passing);
  store.abandon(id_of(1));
  EXPECT_FALSE(store.body(id_of(1)));
  EXPECT_EQ(store.bytes(), 0U);
}

struct Hand {
  Hand() : world(unloaded()), engine(world.serve_by_hand()) {}
  static ServerWorld::Options unloaded() {
    ServerWorld::Options options;
    options.load = false;
    return options;
  }
  json ended(const std::string& id) {
    for (;;) {
      json body = json::parse(world.get(std::string(kPath) + "/" + id).body);
      if (body["status"] != "in_progress") return body;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  ServerWorld world;
  HandEngine* engine;
};

json background(bool stream = false) {
  return {{"input", "x"}, {"background", true}, {"stream", stream}, {"max_output_tokens", 9}};
}

TEST(BackgroundResponse, shows_why_it_failed) {
  Hand hand;
  const json made = json::parse(hand.world.post(kPath, background()).body);
  EXPECT_EQ(made["status"], "queued");
  hand.engine->answer(1, {300});
  hand.engine->answer(1, {}, FinishReason::kError, -1, {ErrorCode::kInternal, "It broke."});
  const json ended = hand.ended(made["id"]);
  EXPECT_EQ(ended["status"], "failed");
  EXPECT_EQ(ended["error"]["message"], "It broke.");
}

TEST(BackgroundResponse, is_refused_at_once_when_the_engine_is_full) {
  Hand hand;
  hand.engine->refuse({ErrorCode::kOverloaded, "full", "", 3});
  const RawResponse refused = hand.world.post(kPath, background());
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(hand.world.floor().responses.count(), 0U);
}

TEST(BackgroundResponse, goes_on_when_its_stream_is_left) {
  Hand hand;
  std::string id;
  {
    RawClient client(hand.world.port());
    client.send(post_request(kPath, background(true).dump()));
    hand.engine->answer(1, {300});
    ASSERT_TRUE(client.wait_for("w300"));
    const size_t at = client.received().find("resp_");
    id = client.received().substr(at, 5 + 32);
  }
  hand.engine->answer(1, {301}, FinishReason::kLength);
  const json ended = hand.ended(id);
  EXPECT_EQ(ended["output"][0]["content"][0]["text"], "w300 w301 ");
  const RawResponse again = hand.world.get(std::string(kPath) + "/" + id + "?stream=true&starting_after=3");
  EXPECT_EQ(again.body.find("\"sequence_number\":3,"), std::string::npos);
  EXPECT_NE(again.body.find("\"sequence_number\":4,"), std::string::npos);
  EXPECT_NE(again.body.find("response.incomplete"), std::string::npos);
}

TEST(BackgroundResponse, is_cancelled_when_the_server_stops) {
  auto hand = std::make_unique<Hand>();
  ASSERT_EQ(hand->world.post(kPath, background()).status, 200);
  hand->engine->wait_for_request(1);
  EXPECT_EQ(hand->world.floor().background.count(), 1);
  hand->world.floor().background.stop();
  hand->engine->wait_for_cancel(1);
  EXPECT_EQ(hand->world.floor().responses.count(), 0U);
}

TEST(Responses, forgets_a_response_whose_client_left) {
  Hand hand;
  {
    RawClient client(hand.world.port());
    client.send(post_request(kPath, R"({"input":"x","stream":true})"));
    hand.engine->answer(1, {300});
    ASSERT_TRUE(client.wait_for("w300"));
    EXPECT_EQ(hand.world.floor().responses.count(), 1U);
  }
  hand.engine->wait_for_cancel(1);
  while (hand.world.floor().responses.count() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(Responses, breaks_off_a_stream_with_its_own_event) {
  Hand hand;
  RawClient client(hand.world.port());
  client.send(post_request(kPath, R"({"input":"x","stream":true})"));
  hand.engine->answer(1, {300});
  ASSERT_TRUE(client.wait_for("w300"));
  hand.engine->answer(1, {}, FinishReason::kError, -1, {ErrorCode::kInternal, "It broke."});
  EXPECT_NE(client.read_response().body.find("event: response.failed"), std::string::npos);
}

TEST(Responses, reads_queries_with_care) {
  ServerWorld world;
  const json made = json::parse(
      world
          .post(kPath,
                {{"input", {{{"role", "user"}, {"content", "a"}}, {{"role", "user"}, {"content", "b"}}}},
                 {"max_output_tokens", 2}})
          .body);
  const std::string path = std::string(kPath) + "/" + made["id"].get<std::string>();
  const json all = json::parse(world.get(path + "/input_items?order=asc").body);
  ASSERT_EQ(all["data"].size(), 2U);
  EXPECT_EQ(all["data"][0]["content"][0]["text"], "a");
  const json one = json::parse(world.get(path + "/input_items?limit=1").body);
  EXPECT_EQ(one["data"][0]["content"][0]["text"], "b");
  EXPECT_TRUE(one["has_more"]);
  const json next =
      json::parse(world.get(path + "/input_items?limit=1&after=" + one["last_id"].get<std::string>()).body);
  EXPECT_EQ(next["data"][0]["content"][0]["text"], "a");
  for (const char* query : {"?limit=0", "?limit=x", "?limit=101", "?after=nobody"})
    EXPECT_EQ(world.get(path + "/input_items" + query).status, 400) << query;
  for (const char* query : {"?stream=true", "?stream=true&starting_after=x", "?stream=1&starting_after=-2"})
    EXPECT_EQ(world.get(path + query).status, 400) << query;
}

}  // namespace
}  // namespace sluice
