#include "server/net/http_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice {
namespace {

struct Parsed {
  RequestParser::State state = RequestParser::State::kHead;
  HttpRequest request;
  HttpFault fault;
  size_t used = 0;
};

// Feeds `bytes` in pieces of the sizes that `next_size` gives.
template <class NextSize>
Parsed parse(const std::string& bytes, NextSize next_size, const HttpLimits& limits = {}) {
  RequestParser parser(limits);
  std::string buffer;
  size_t at = 0;
  Parsed parsed;
  const auto open = [&] {
    return parser.state() == RequestParser::State::kHead || parser.state() == RequestParser::State::kBody;
  };
  while (open()) {
    const size_t used = parser.feed(buffer);
    buffer.erase(0, used);
    parsed.used += used;
    if (!open() || used > 0) continue;
    if (at == bytes.size()) break;
    const size_t take = std::min<size_t>(next_size(), bytes.size() - at);
    buffer += bytes.substr(at, take);
    at += take;
  }
  parsed.state = parser.state();
  parsed.request = parser.request();
  parsed.fault = parser.fault();
  return parsed;
}

Parsed parse(const std::string& bytes, const HttpLimits& limits = {}) {
  return parse(
      bytes, [] { return size_t{1} << 20; }, limits);
}

int fault_of(const std::string& bytes, const HttpLimits& limits = {}) {
  const Parsed parsed = parse(bytes, limits);
  return parsed.state == RequestParser::State::kFailed ? parsed.fault.status : 0;
}

const std::string kHost = "Host: test\r\n";

TEST(RequestParser, takes_a_request_apart) {
  const Parsed parsed = parse(
      "POST /a/b?c=d HTTP/1.1\r\nHost: x:8000\r\nX-Thing:  some value \r\nContent-Length: 5\r\n\r\nhello");
  ASSERT_EQ(parsed.state, RequestParser::State::kDone);
  EXPECT_EQ(parsed.request.method, "POST");
  EXPECT_EQ(parsed.request.path, "/a/b");
  EXPECT_EQ(parsed.request.query, "c=d");
  ASSERT_NE(parsed.request.headers.find("x-thing"), nullptr);
  EXPECT_EQ(*parsed.request.headers.find("x-thing"), "some value");
  EXPECT_EQ(parsed.request.body, "hello");
  EXPECT_TRUE(parsed.request.keep_alive);
}

TEST(RequestParser, stops_where_the_next_request_begins) {
  const std::string one = "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 2\r\n\r\nhi";
  const Parsed parsed = parse(one + "GET /next HTTP/1.1\r\n");
  ASSERT_EQ(parsed.state, RequestParser::State::kDone);
  EXPECT_EQ(parsed.used, one.size());
}

TEST(RequestParser, joins_chunks_and_drops_extensions_and_trailers) {
  const Parsed parsed =
      parse("POST / HTTP/1.1\r\n" + kHost +
            "Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\nX-T: 1\r\n\r\n");
  ASSERT_EQ(parsed.state, RequestParser::State::kDone) << parsed.fault.message;
  EXPECT_EQ(parsed.request.body, "hello!");
  EXPECT_EQ(parsed.request.headers.find("x-t"), nullptr);
}

TEST(RequestParser, knows_when_a_connection_ends) {
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\n" + kHost + "Connection: foo, Close\r\n\r\n").request.keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n").request.keep_alive);
  EXPECT_TRUE(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").request.keep_alive);
}

TEST(RequestParser, reads_an_absolute_target) {
  const Parsed parsed = parse("GET http://host:80/x?y HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ(parsed.request.path, "/x");
  EXPECT_EQ(parsed.request.query, "y");
  EXPECT_EQ(parse("GET http://host HTTP/1.1\r\n" + kHost + "\r\n").request.path, "/");
}

// Each is read differently by some server in the field; here there is one reading: none.
TEST(RequestParser, refuses_whatever_could_be_framed_in_two_ways) {
  const std::string post = "POST / HTTP/1.1\r\n" + kHost;
  for (const std::string& headers : {
           std::string("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
           std::string("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
           std::string("Content-Length: 3\r\nContent-Length: 3\r\n"),
           std::string("Content-Length: 3\r\nContent-Length: 4\r\n"),
           std::string("Content-Length: 3, 3\r\n"),
           std::string("Content-Length: +3\r\n"),
           std::string("Content-Length: -3\r\n"),
           std::string("Content-Length: 0x3\r\n"),
           std::string("Content-Length: 3 4\r\n"),
           std::string("Content-Length:\r\n"),
           std::string("Content-Length: 99999999999999999999999\r\n"),
           std::string("Content-Length : 3\r\n"),
           std::string("Content-Length\r\n"),
           std::string(" Content-Length: 3\r\n"),
           std::string("X: a\r\n Content-Length: 3\r\n"),
           std::string("X: a\r\n\tb\r\n"),
           std::string("X: a\rContent-Length: 3\r\n"),
           std::string("X: a\nContent-Length: 3\r\n"),
           std::string("X: a\0b\r\n", 8),
           std::string(": a\r\n"),
           std::string("X\x80: a\r\n"),
           std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
       }) {
    EXPECT_EQ(fault_of(post + headers + "\r\n0\r\n\r\n"), 400) << headers;
  }
  for (const char* encoding : {"gzip, chunked", "chunked, gzip", "identity", "xchunked", "chunked;q=1",
                               "\x0b"
                               "chunked"}) {
    const int fault = fault_of(post + "Transfer-Encoding: " + encoding + "\r\n\r\n0\r\n\r\n");
    EXPECT_TRUE(fault == 501 || fault == 400) << encoding;
  }
  EXPECT_EQ(fault_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
}

TEST(RequestParser, refuses_malformed_chunks) {
  const std::string head = "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n";
  for (const char* body :
       {"\r\n", "g\r\n", "0x5\r\nhello\r\n", "-1\r\n", "+5\r\nhello\r\n", " 5\r\nhello\r\n", "5\nhello\r\n",
        "5\r\nhelloX\r\n", "5\r\nhello\n0\r\n\r\n", "ffffffffffffffff\r\n", "5 a\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n", "5;\x01\r\nhello\r\n", "0\r\nbad trailer\r\n\r\n", "0\r\n X: y\r\n\r\n"}) {
    EXPECT_EQ(fault_of(head + body), 400) << body;
  }
  EXPECT_EQ(fault_of(head + "5;" + std::string(300, 'a') + "\r\nhello\r\n"), 400);
}

TEST(RequestParser, refuses_malformed_request_lines) {
  for (const char* line :
       {"", "GET", "GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /a b HTTP/1.1",
        "G\x01T / HTTP/1.1", "GET / http/1.1", "GET / HTTP/11", "GET / HTTP/1.1\x01", "GET x HTTP/1.1",
        "GET /\x7f HTTP/1.1", "GET /# HTTP/1.1", "GET http:///x HTTP/1.1", "GET http://a@b/x HTTP/1.1",
        "GET /\xc3\xa4 HTTP/1.1", "CONNECT host:443 HTTP/1.1"}) {
    EXPECT_EQ(fault_of("\r\n" + std::string(line) + "\r\n" + kHost + "\r\n"), 400) << line;
  }
  EXPECT_EQ(fault_of("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(fault_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(fault_of("GET / HTTP/1.1\n" + kHost + "\r\n"), 400);
}

TEST(RequestParser, wants_one_valid_host) {
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400);
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), 0);
}

TEST(RequestParser, keeps_its_limits) {
  HttpLimits limits;
  limits.max_request_line_bytes = 64;
  limits.max_header_bytes = 200;
  limits.max_header_count = 4;
  limits.max_body_bytes = 10;
  EXPECT_EQ(fault_of("GET /" + std::string(64, 'a') + " HTTP/1.1\r\n" + kHost + "\r\n", limits), 414);
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\n" + kHost + "X: " + std::string(200, 'a') + "\r\n\r\n", limits), 431);
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\n" + kHost + "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n", limits), 431);
  EXPECT_EQ(fault_of("POST / HTTP/1.1\r\n" + kHost + "Content-Length: 11\r\n\r\n", limits), 413);
  const std::string chunked = "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(fault_of(chunked + "b\r\n", limits), 413);
  EXPECT_EQ(fault_of(chunked + "a\r\n0123456789\r\n1\r\n", limits), 413);
  EXPECT_EQ(fault_of(chunked + "a\r\n0123456789\r\n0\r\n\r\n", limits), 0);
  EXPECT_EQ(fault_of(chunked + "0\r\n" + "X: " + std::string(200, 'a') + "\r\n\r\n", limits), 431);
}

TEST(RequestParser, names_the_limit_and_its_flag) {
  HttpLimits limits;
  limits.max_request_line_bytes = 64;
  limits.max_header_bytes = 200;
  limits.max_header_count = 2;
  limits.max_body_bytes = 10;
  const std::string head = "POST / HTTP/1.1\r\n" + kHost;
  for (const auto& [bytes, bound, flag] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"GET /" + std::string(64, 'a') + " HTTP/1.1\r\n", "64 bytes", "--max-request-line-bytes"},
           {head + "X: " + std::string(200, 'a') + "\r\n", "200 bytes", "--max-header-bytes"},
           {head + "A: 1\r\nB: 1\r\nC: 1\r\n\r\n", "2 headers", "--max-header-count"},
           {head + "Content-Length: 11\r\n\r\n", "at most 10", "--max-body-bytes"},
           {head + "Transfer-Encoding: chunked\r\n\r\nb\r\n", "10 bytes", "--max-body-bytes"}}) {
    const std::string message = parse(bytes, limits).fault.message;
    EXPECT_NE(message.find(bound), std::string::npos) << message;
    EXPECT_NE(message.find("(" + flag + ")"), std::string::npos) << message;
  }
}

TEST(RequestParser, expects_100_continue_only) {
  EXPECT_TRUE(parse("POST / HTTP/1.1\r\n" + kHost + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
                  .request.expects_continue);
  EXPECT_EQ(fault_of("POST / HTTP/1.1\r\n" + kHost + "Expect: 200-ok\r\n\r\n"), 417);
}

TEST(RequestParser, gives_the_same_result_however_the_bytes_are_cut) {
  const std::string head = "POST /x HTTP/1.1\r\n" + kHost;
  const std::vector<std::string> inputs = {
      "\r\n" + head + "Content-Length: 5\r\n\r\nhello",
      head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
      head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
      head + "X: a\nY: b\r\n\r\n",
      "GET / HTTP/3.0\r\n\r\n",
      "GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n",
      head + "X: " + std::string(40000, 'a') + "\r\n\r\n",
  };
  std::mt19937 random(7);
  for (const std::string& input : inputs) {
    const Parsed whole = parse(input);
    for (int round = 0; round < 40; ++round) {
      const size_t largest = round == 0 ? 1 : 1 + random() % 50;
      const Parsed cut = parse(input, [&] { return 1 + random() % largest; });
      ASSERT_EQ(cut.state, whole.state) << input.substr(0, 200);
      ASSERT_EQ(cut.fault.status, whole.fault.status);
      ASSERT_EQ(cut.fault.message, whole.fault.message);
      ASSERT_EQ(cut.request.body, whole.request.body);
      ASSERT_EQ(cut.request.headers.size(), whole.request.headers.size());
    }
  }
}

}  // namespace
}  // namespace sluice
