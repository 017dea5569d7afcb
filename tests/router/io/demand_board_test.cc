#include "router/io/demand_board.h"

#include <gtest/gtest.h>

namespace sluice::router {
namespace {

RouterCoreOptions small() {
  RouterCoreOptions options;
  options.index.budget_bytes = 1 << 20;
  options.dictionary_bytes = 1 << 20;
  return options;
}

TEST(DemandBoard, the_first_request_after_a_rest_is_told_of_at_once) {
  RouterCore core(small());
  DemandBoard board({.models = {"m"}});
  board.make(core, {}, 100);
  EXPECT_EQ(board.models().at("m").demand.replicas, 0);
  EXPECT_FALSE(is_active(board.models().at("m")));
  EXPECT_FALSE(board.is_due(core, 100.5));
  board.arrived("m");
  core.arrive({.id = 1, .model = "m", .prompt_tokens = 10, .deadline = 200}, 100.5);
  ASSERT_TRUE(board.is_due(core, 100.5));
  board.make(core, {}, 100.5);
  EXPECT_EQ(board.models().at("m").demand.replicas, 1);
  EXPECT_TRUE(is_active(board.models().at("m")));
  // The next ones wait for the second's end: a flood is not a look for each.
  board.arrived("m");
  EXPECT_FALSE(board.is_due(core, 100.6));
}

TEST(DemandBoard, tells_how_long_a_replica_takes_and_asks_for_no_more_than_helps) {
  RouterCore core(small());
  DemandBoard board({.models = {"m"}});
  board.coming("one", {"m"}, true, 0);
  board.make(core, {}, 1);
  EXPECT_EQ(board.models().at("m").load.loading, 1);
  EXPECT_EQ(board.models().at("m").load.cold_start, 0);
  board.came("one", 60);
  board.make(core, {}, 61);
  EXPECT_EQ(board.models().at("m").load.loading, 0);
  EXPECT_EQ(board.models().at("m").load.cold_start, 60);
}

}  // namespace
}  // namespace sluice::router
