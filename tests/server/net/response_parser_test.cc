#include "server/net/response_parser.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using State = ResponseParser::State;

struct Read {
  State state;
  int status;
  std::string body;
  size_t used;
  bool keep_alive;
};

// Feeds pieces of `size` bytes until the parser wants no more.
Read read(std::string_view bytes, size_t size, bool closed = false, bool no_body = false) {
  ResponseParser parser;
  parser.reset(no_body);
  std::string body;
  size_t at = 0;
  while (at < bytes.size() && parser.state() != State::kDone && parser.state() != State::kFailed) {
    std::string_view rest = bytes.substr(at, size);
    while (!rest.empty() && parser.state() != State::kDone && parser.state() != State::kFailed) {
      std::string_view piece;
      const size_t used = parser.feed(rest, piece);
      body += piece;
      rest.remove_prefix(used);
      at += used;
    }
  }
  if (closed) parser.end_of_stream();
  return {parser.state(), parser.status(), body, at, parser.keep_alive()};
}

TEST(ResponseParser, reads_every_framing_however_it_is_cut) {
  struct Case {
    std::string bytes, body;
    bool closed = false, keep_alive = true;
  };
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const Case cases[] = {
      {ok + "Content-Length: 5\r\n\r\nhello", "hello"},
      {ok + "Content-Length: 0\r\n\r\n", ""},
      {ok + "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
       "hello world"},
      {ok + "Connection: close\r\nContent-Length: 2\r\n\r\nhi", "hi", false, false},
      {ok + "\r\nuntil the end", "until the end", true, false},
      {"HTTP/1.0 200\r\nContent-Length: 2\r\n\r\nhi", "hi", false, false},
      {"HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na", "a"},
      {"HTTP/1.1 204 No Content\r\n\r\n", ""},
  };
  for (const Case& each : cases) {
    for (size_t size = 1; size <= each.bytes.size(); ++size) {
      const Read got = read(each.bytes, size, each.closed);
      ASSERT_EQ(got.state, State::kDone) << each.bytes << " by " << size;
      EXPECT_EQ(got.body, each.body);
      EXPECT_EQ(got.used, each.bytes.size());
      EXPECT_EQ(got.keep_alive, each.keep_alive) << each.bytes;
    }
  }
  EXPECT_EQ(read(ok + "Content-Length: 5\r\n\r\n", 100, false, true).state, State::kDone) << "of a HEAD";
}

TEST(ResponseParser, leaves_what_stands_behind_an_answer) {
  const std::string one = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
  EXPECT_EQ(read(one + one, 1000).used, one.size());
}

TEST(ResponseParser, refuses_what_could_be_read_in_two_ways) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  for (const std::string& bytes : {std::string("HTTP/2 200 OK\r\n\r\n"),
                                   std::string("ICY 200 OK\r\n\r\n"),
                                   std::string("HTTP/1.1 20 OK\r\n\r\n"),
                                   std::string("HTTP/1.1 099 No\r\n\r\n"),
                                   std::string("HTTP/1.1 600 No\r\n\r\n"),
                                   std::string("HTTP/1.1 200OK\r\n\r\n"),
                                   std::string("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
                                   ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
                                   ok + "Content-Length: +1\r\n\r\n",
                                   ok + "Content-Length: 1, 1\r\n\r\n",
                                   ok + "Content-Length: 99999999999999999999\r\n\r\n",
                                   ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                                   ok + "Transfer-Encoding: gzip\r\n\r\n",
                                   ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
                                   ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
                                   ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                                   ok + "a b: c\r\n\r\n",
                                   ok + ": c\r\n\r\n",
                                   ok + "a: \x01\r\n\r\n",
                                   std::string("HTTP/1.1 200 OK\n\n"),
                                   ok + " folded\r\n\r\n"}) {
    EXPECT_EQ(read(bytes, 1000).state, State::kFailed) << bytes;
  }
}

TEST(ResponseParser, bounds_every_length) {
  EXPECT_EQ(read("HTTP/1.1 200 " + std::string(70'000, 'x'), 4096).state, State::kFailed);
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\na: " + std::string(70'000, 'x'), 4096).state, State::kFailed);
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 300; ++i) many += "a: b\r\n";
  EXPECT_EQ(read(many, 4096).state, State::kFailed);
  std::string interim;
  for (int i = 0; i < 100; ++i) interim += "HTTP/1.1 103 Early Hints\r\n\r\n";
  EXPECT_EQ(read(interim, 4096).state, State::kFailed);
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(read(chunked + "1;" + std::string(5000, 'x'), 4096).state, State::kFailed);
}

TEST(ResponseParser, knows_an_answer_that_broke_off) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  for (const std::string& bytes : {std::string(), ok, ok + "Content-Length: 5\r\n\r\nhell",
                                   ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}) {
    EXPECT_EQ(read(bytes, 1000, true).state, State::kFailed) << bytes;
  }
}

}  // namespace
}  // namespace sluice
