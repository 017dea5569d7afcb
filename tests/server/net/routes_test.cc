#include "server/net/routes.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

Routes some_routes() {
  const RouteFunction nothing = [](Exchange&, HttpRequest&&) { return nullptr; };
  Routes routes;
  routes.add({"GET", "/v1/models", nothing});
  routes.add({"GET", "/v1/models/{rest}", nothing});
  routes.add({"POST", "/ping", nothing});
  routes.add({"GET", "/ping", nothing});
  return routes;
}

TEST(Routes, finds_a_path_by_method) {
  const Routes routes = some_routes();
  ASSERT_NE(routes.find("GET", "/v1/models").route, nullptr);
  EXPECT_EQ(routes.find("HEAD", "/v1/models").route, routes.find("GET", "/v1/models").route);
  EXPECT_NE(routes.find("POST", "/ping").route, routes.find("GET", "/ping").route);
}

TEST(Routes, decodes_what_the_rest_of_a_path_names) {
  const Routes routes = some_routes();
  EXPECT_EQ(routes.find("GET", "/v1/models/org/name").rest, "org/name");
  EXPECT_EQ(routes.find("GET", "/v1/models/org%2Fname%20x").rest, "org/name x");
  EXPECT_EQ(routes.find("GET", "/v1/models/").route, nullptr);
  EXPECT_EQ(routes.find("GET", "/v1/models/a%00b").route, nullptr);
  EXPECT_EQ(routes.find("GET", "/v1/models/a%2").route, nullptr);
  EXPECT_EQ(routes.find("GET", "/v1/models/a%zz").route, nullptr);
}

TEST(Routes, tells_a_wrong_method_from_an_unknown_path) {
  const Routes routes = some_routes();
  EXPECT_EQ(routes.find("DELETE", "/ping").allowed, "POST, GET, HEAD");
  EXPECT_EQ(routes.find("GET", "/v1/nothing").allowed, "");
  EXPECT_EQ(routes.find("GET", "//v1/models").allowed, "");
  EXPECT_EQ(routes.find("GET", "/v1/models/../models").rest, "../models");  // matched as text, never resolved
}

}  // namespace
}  // namespace sluice
