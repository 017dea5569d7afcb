#include "deploy/up/router_view.h"

#include <gtest/gtest.h>

namespace sluice::up {
namespace {

TEST(RouterView, sums_models_and_knows_its_replicas) {
  const auto view = read_router_view(
      R"({"models":[{"model":"a","demand_replicas":1,"reason":"kv","inflight_requests":3,"queue_depth":1},
                    {"model":"b","demand_replicas":4,"reason":"backlog","inflight_requests":9}]})",
      R"({"replicas":[{"name":"replica-2","url":"http://h:1","state":"ready","in_flight":7,"more":[1]},
                      {"name":"replica-10","url":"http://h:2","state":"unhealthy","trouble":"x"},
                      {"name":"canary","state":"ready"}]})");
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->demand, 5);
  EXPECT_EQ(view->in_flight, 12);
  EXPECT_EQ(view->queued, 1);
  EXPECT_EQ(view->reason, "backlog");
  ASSERT_EQ(view->replicas.size(), 2U);
  EXPECT_EQ(view->replicas[0].sight.number, 2);
  EXPECT_TRUE(view->replicas[0].sight.is_ready);
  EXPECT_EQ(view->replicas[0].sight.in_flight, 7);
  EXPECT_EQ(view->replicas[0].url, "http://h:1");
  EXPECT_TRUE(view->replicas[1].sight.is_unhealthy);
  EXPECT_FALSE(view->replicas[1].sight.is_ready);
}

TEST(RouterView, refuses_what_is_no_word_of_a_router) {
  for (const char* wrong : {"", "{}", "[]", R"({"models":3})", R"({"models":[1]})", R"({"models":[{})"}) {
    EXPECT_FALSE(read_router_view(wrong, R"({"replicas":[]})").ok()) << wrong;
  }
  EXPECT_FALSE(read_router_view(R"({"models":[]})", "<html>").ok());
}

TEST(RouterView, names_and_numbers) {
  EXPECT_EQ(name_of(7), "replica-7");
  EXPECT_EQ(number_of("replica-7"), 7);
  for (const char* other : {"", "replica-", "replica-0", "replica--1", "replica-1x", "replica-99999999999"}) {
    EXPECT_EQ(number_of(other), 0) << other;
  }
}

}  // namespace
}  // namespace sluice::up
