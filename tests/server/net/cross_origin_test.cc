#include "server/net/cross_origin.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

HttpRequest from(const std::string& origin, const std::string& method = "POST") {
  HttpRequest request;
  request.method = method;
  request.headers.add("origin", origin);
  return request;
}

std::string header(const HeaderList& headers, const std::string& name) {
  const std::string* value = headers.find(name);
  return value == nullptr ? "-" : *value;
}

TEST(CrossOrigin, says_nothing_unless_allowed) {
  EXPECT_EQ(cross_origin_headers({}, from("https://a.test")).size(), 0U);
  HttpRequest preflight = from("https://a.test", "OPTIONS");
  preflight.headers.add("access-control-request-method", "POST");
  EXPECT_FALSE(answer_preflight({}, preflight));
}

TEST(CrossOrigin, names_the_origin_that_may) {
  CrossOriginOptions options;
  options.allowed_origins = {"https://a.test", "https://b.test"};
  const HeaderList allowed = cross_origin_headers(options, from("https://b.test"));
  EXPECT_EQ(header(allowed, "Access-Control-Allow-Origin"), "https://b.test");
  EXPECT_EQ(header(allowed, "Vary"), "Origin");
  const HeaderList refused = cross_origin_headers(options, from("https://c.test"));
  EXPECT_EQ(header(refused, "Access-Control-Allow-Origin"), "-");
  EXPECT_EQ(header(refused, "Vary"), "Origin");
}

TEST(CrossOrigin, gives_the_star_only_without_credentials) {
  CrossOriginOptions options;
  options.allowed_origins = {"*"};
  EXPECT_EQ(header(cross_origin_headers(options, from("https://a.test")), "Access-Control-Allow-Origin"),
            "*");
  options.allow_credentials = true;
  const HeaderList headers = cross_origin_headers(options, from("https://a.test"));
  EXPECT_EQ(header(headers, "Access-Control-Allow-Origin"), "https://a.test");
  EXPECT_EQ(header(headers, "Access-Control-Allow-Credentials"), "true");
}

TEST(CrossOrigin, answers_a_preflight) {
  CrossOriginOptions options;
  options.allowed_origins = {"*"};
  HttpRequest request = from("https://a.test", "OPTIONS");
  EXPECT_FALSE(answer_preflight(options, request)) << "a plain OPTIONS";
  request.headers.add("access-control-request-method", "POST");
  request.headers.add("access-control-request-headers", "authorization, content-type");
  const auto answer = answer_preflight(options, request);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 204);
  EXPECT_EQ(header(answer->headers, "Access-Control-Allow-Methods"), "POST");
  EXPECT_EQ(header(answer->headers, "Access-Control-Allow-Headers"), "authorization, content-type");
  options.allowed_methods = {"GET", "POST"};
  options.allowed_headers = {"content-type"};
  const auto narrow = answer_preflight(options, request);
  EXPECT_EQ(header(narrow->headers, "Access-Control-Allow-Methods"), "GET, POST");
  EXPECT_EQ(header(narrow->headers, "Access-Control-Allow-Headers"), "content-type");
}

}  // namespace
}  // namespace sluice
