// What routers before the same replicas tell each other, and what it adds up to.
#include "router/io/peers.h"

#include <gtest/gtest.h>

#include "router/io/demand_board.h"

namespace sluice::router {
namespace {

TEST(Peers, a_share_is_read_as_it_was_written) {
  RouterShare share{.router = "a\"b"};
  share.models["org/m"] = {
      .in_flight = 3, .queued = 2, .uncomputed = 2.5, .backlog_seconds = 0.125, .knee = 40};
  share.models["n"] = {};
  const auto read = parse_share(share_json(share));
  ASSERT_TRUE(read.ok()) << share_json(share);
  EXPECT_EQ(read->router, "a\"b");
  ASSERT_EQ(read->models.size(), 2U);
  EXPECT_EQ(read->models.at("org/m").in_flight, 3);
  EXPECT_EQ(read->models.at("org/m").uncomputed, 2.5);
  EXPECT_EQ(read->models.at("org/m").backlog_seconds, 0.125);
  EXPECT_EQ(read->models.at("org/m").knee, 40);
  EXPECT_EQ(read->models.at("n").in_flight, 0);
  EXPECT_TRUE(parse_share(share_json({.router = "x"})).ok());
}

TEST(Peers, nonsense_is_no_share) {
  for (const char* text :
       {"", "[]", "{}", R"({"router":"a"})", R"({"router":7,"models":{}})", R"({"router":"a","models":[]})",
        R"({"router":"a","models":{"m":1}})", R"({"router":"a","models":{"m":{"in_flight":-1}}})",
        R"({"router":"a","models":{"m":{"in_flight":"3"}}})",
        R"({"router":"a","models":{"m":{"in_flight":1e99}}})"}) {
    EXPECT_FALSE(parse_share(text).ok()) << text;
  }
}

class Board : public ::testing::Test {
 protected:
  const Load& look(Seconds now) {
    board_.make(core_, {}, now);
    return board_.models().at("m").load;
  }
  RouterCore core_{RouterCoreOptions{.index = {.budget_bytes = 1 << 20}, .dictionary_bytes = 1 << 20}};
  DemandBoard board_{{.models = {"m"}}};
};

TEST_F(Board, adds_what_others_have_and_forgets_who_is_silent) {
  EXPECT_EQ(look(0).in_flight, 0);
  board_.peer_said("b", {{"m", {.in_flight = 40, .queued = 30, .backlog_seconds = 3, .knee = 10}}}, 1);
  board_.peer_said("c", {{"m", {.in_flight = 5, .knee = 12}}}, 1);
  EXPECT_EQ(look(1).in_flight, 45);
  EXPECT_EQ(look(2).queued, 30);
  EXPECT_EQ(board_.models().at("m").demand.replicas, 5);  // 45 of 10 each
  EXPECT_EQ(board_.models().at("m").own.in_flight, 0);    // of which nothing is told on
  board_.peer_said("c", {{"m", {.in_flight = 6, .knee = 12}}}, 5);
  EXPECT_EQ(look(6.5).in_flight, 6);
  board_.peer_left("c");
  EXPECT_EQ(look(8).in_flight, 0);
  EXPECT_EQ(board_.models().at("m").demand.replicas, 0);
}

TEST_F(Board, learns_of_models_from_others_when_somebody_asks_for_them) {
  board_.peer_said("b", {{"other", {.in_flight = 2}}, {"idle", {}}}, 1);
  look(1);
  EXPECT_EQ(board_.models().at("other").demand.replicas, 1);
  EXPECT_EQ(board_.models().count("idle"), 0U);
}

}  // namespace
}  // namespace sluice::router
