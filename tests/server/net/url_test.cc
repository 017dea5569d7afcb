#include "server/net/url.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Url, is_taken_apart) {
  const auto url = parse_url("HTTPS://user:pw@Host.Example:8443/a/b?c=d#frag");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->user_info, "user:pw");
  EXPECT_EQ(url->host, "host.example");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->target, "/a/b?c=d");
  EXPECT_EQ(url->without_query(), "https://host.example:8443/a/b");
}

TEST(Url, knows_default_ports_and_ipv6) {
  EXPECT_EQ(parse_url("http://h")->port, 80);
  EXPECT_EQ(parse_url("https://h?x")->target, "/?x");
  const auto six = parse_url("http://[::1]:81/x");
  ASSERT_TRUE(six.ok());
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->authority(), "[::1]:81");
}

TEST(Url, refuses_what_it_cannot_fetch) {
  for (const char* text :
       {"", "h", "ftp://h/", "http://", "http:///x", "http://h:0/", "http://h:99999/", "http://h:8a/",
        "http://[::1/", "http://h/a b", "http://h/\n", "file:///etc/passwd", "http://h:-1/"}) {
    EXPECT_FALSE(parse_url(text).ok()) << text;
  }
}

TEST(Url, resolves_a_location_against_where_it_was_found) {
  const Url base = *parse_url("https://h:444/a/b?c");
  EXPECT_EQ(resolve_url(base, "https://other/x")->text(), "https://other/x");
  EXPECT_EQ(resolve_url(base, "//other/x")->text(), "https://other/x");
  EXPECT_EQ(resolve_url(base, "/x?u=http://y")->text(), "https://h:444/x?u=http://y");
  EXPECT_EQ(resolve_url(base, "x")->text(), "https://h:444/a/x");
  EXPECT_EQ(resolve_url(base, "?d")->text(), "https://h:444/a/b?d");
}

}  // namespace
}  // namespace sluice
