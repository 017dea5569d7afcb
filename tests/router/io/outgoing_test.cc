#include "router/io/outgoing.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::router {
namespace {

std::string changed(const std::string& body, const BodyChanges& changes) {
  const auto scan = scan_body(body);
  EXPECT_TRUE(scan.ok());
  return change_body(body, *scan, changes);
}

TEST(ChangeBody, adds_in_front_and_leaves_the_rest_as_it_lies) {
  const int32_t told[] = {4, 5};
  EXPECT_EQ(changed(R"({ "prompt" : "a"})", {.token_ids = true, .seed = 7, .told = told}),
            R"({"return_token_ids":true,"seed":7,"continue_tokens":[4,5], "prompt" : "a"})");
  EXPECT_EQ(changed("{}", {.seed = 7}), R"({"seed":7})");
  EXPECT_EQ(changed(" { } ", {.model = "m"}), R"( {"model":"m" } )");
}

TEST(ChangeBody, replaces_what_stands_there) {
  EXPECT_EQ(changed(R"({"model":"alias","prompt":"a"})", {.model = "m\"1"}),
            R"({"model":"m\"1","prompt":"a"})");
  const std::string nulls = R"({"seed":null,"a":1,"return_token_ids":false,"model":null})";
  const auto got = nlohmann::json::parse(changed(nulls, {.model = "m", .token_ids = true, .seed = 9}));
  EXPECT_EQ(got, nlohmann::json::parse(R"({"seed":9,"a":1,"return_token_ids":true,"model":"m"})"));
}

TEST(ChangeBody, keeps_what_the_client_asked_for) {
  EXPECT_EQ(changed(R"({"return_token_ids":true})", {.token_ids = true}), R"({"return_token_ids":true})");
}

TEST(RequestHead, leaves_behind_what_belongs_to_one_connection) {
  HttpRequest request;
  request.method = "POST";
  request.path = "/v1/completions";
  request.query = "a=b";
  request.request_id = "id-1";
  for (const auto& [name, value] :
       {std::pair("host", "router"), std::pair("connection", "close"), std::pair("content-length", "99"),
        std::pair("te", "trailers"), std::pair("transfer-encoding", "chunked"),
        std::pair("x-request-id", "other"), std::pair("accept-encoding", "gzip"),
        std::pair("x-mine", "yes")}) {
    request.headers.add(name, value);
  }
  EXPECT_EQ(request_head(request, {"replica:8000", "/base"}, 5),
            "POST /base/v1/completions?a=b HTTP/1.1\r\nHost: replica:8000\r\nx-request-id: id-1\r\n"
            "Accept-Encoding: identity\r\nx-mine: yes\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(request_head(request, {"a", ""}, std::nullopt).find("Content-Length"), std::string::npos);
}

TEST(RequestHead, clients_keys_go_on_or_stay_here) {
  HttpRequest request;
  request.method = "POST";
  request.path = "/";
  request.headers.add("authorization", "Bearer client");
  request.headers.add("x-api-key", "client");
  const std::string passed = request_head(request, {"a", ""}, 0);
  EXPECT_NE(passed.find("authorization: Bearer client\r\n"), std::string::npos);
  const std::string replaced = request_head(request, {"a", "", "ours"}, 0);
  EXPECT_EQ(replaced.find("client"), std::string::npos);
  EXPECT_NE(replaced.find("Authorization: Bearer ours\r\n"), std::string::npos);
  const std::string none = request_head(request, {"a", "", ""}, 0);
  EXPECT_EQ(none.find("uthorization"), std::string::npos);
}

}  // namespace
}  // namespace sluice::router
