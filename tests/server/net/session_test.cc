// Connections over real sockets, byte by byte where it matters: framing, limits, slow and leaving clients,
// pipelining.
#include <gtest/gtest.h>

#include <thread>

#include "tests/server/net/net_world.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using testing::echo;
using testing::eventually;
using testing::get_request;
using testing::NetWorld;
using testing::RawClient;
using testing::RawResponse;

TEST(Session, answers_and_keeps_the_connection) {
  NetWorld world;
  RawClient client(world.port());
  for (const std::string& body : {std::string("first"), std::string(), std::string(300000, 'b')}) {
    ASSERT_TRUE(client.send(echo(body)));
    const RawResponse response = client.read_response();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, body);
    EXPECT_EQ(response.headers.at("connection"), "keep-alive");
  }
}

TEST(Session, answers_a_request_sent_byte_by_byte) {
  NetWorld world;
  RawClient client(world.port());
  for (char c : echo("hello", "X: y\r\n")) ASSERT_TRUE(client.send(std::string(1, c)));
  EXPECT_EQ(client.read_response().body, "hello");
}

TEST(Session, answers_pipelined_requests_in_order) {
  NetWorld world;
  RawClient client(world.port());
  std::string all;
  for (int i = 0; i < 200; ++i)
    all += i % 3 == 0 ? get_request("/late") : echo("number " + std::to_string(i));
  std::thread sender([&] { client.send(all); });
  for (int i = 0; i < 200; ++i) {
    const RawResponse response = client.read_response();
    ASSERT_EQ(response.body, i % 3 == 0 ? "late" : "number " + std::to_string(i));
  }
  sender.join();
}

TEST(Session, streams_in_chunks_and_goes_on) {
  NetWorld world;
  RawClient client(world.port());
  client.send(get_request("/pieces") + get_request("/pieces"));
  for (int i = 0; i < 2; ++i) {
    const RawResponse response = client.read_response();
    EXPECT_EQ(response.headers.at("transfer-encoding"), "chunked");
    EXPECT_EQ(response.body, "one two");
    EXPECT_TRUE(response.complete);
  }
}

TEST(Session, ends_a_stream_to_http_1_0_by_closing) {
  NetWorld world;
  RawClient client(world.port());
  client.send("GET /pieces HTTP/1.0\r\n\r\n");
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.headers.count("transfer-encoding"), 0U);
  EXPECT_EQ(response.body, "one two");
}

TEST(Session, closes_when_the_client_asks_for_it) {
  NetWorld world;
  RawClient client(world.port());
  client.send(echo("x", "Connection: close\r\n"));
  EXPECT_EQ(client.read_response().headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed_now());
}

TEST(Session, answers_head_without_a_body) {
  NetWorld world;
  RawClient client(world.port());
  client.send("HEAD /id HTTP/1.1\r\nHost: t\r\nx-request-id: abc\r\n\r\n");
  const RawResponse head = client.read_response(true);
  EXPECT_EQ(head.headers.at("content-length"), "3");
  client.send(echo("next"));
  EXPECT_EQ(client.read_response().body, "next");
}

TEST(Session, gives_harmless_request_ids_back_and_makes_its_own_otherwise) {
  NetWorld world;
  RawClient client(world.port());
  client.send("GET /id HTTP/1.1\r\nHost: t\r\nX-Request-Id: mine-1.2_3\r\n\r\n");
  RawResponse response = client.read_response();
  EXPECT_EQ(response.headers.at("x-request-id"), "mine-1.2_3");
  EXPECT_EQ(response.body, "mine-1.2_3");
  client.send("GET /id HTTP/1.1\r\nHost: t\r\nX-Request-Id: a b\"<script>\r\n\r\n");
  response = client.read_response();
  EXPECT_EQ(response.headers.at("x-request-id").size(), 32U);
  EXPECT_EQ(response.headers.count("set-cookie"), 0U);
}

TEST(Session, says_continue_before_a_large_body) {
  NetWorld world;
  RawClient client(world.port());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  ASSERT_TRUE(client.wait_for("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("body");
  EXPECT_EQ(client.read_response().body, "body");
}

TEST(Session, answers_unknown_paths_and_methods_and_reads_on) {
  NetWorld world;
  RawClient client(world.port());
  client.send(get_request("/nowhere") + "DELETE /echo HTTP/1.1\r\nHost: t\r\n\r\n" + echo("still here"));
  EXPECT_EQ(client.read_response().status, 404);
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.headers.at("allow"), "POST");
  EXPECT_EQ(client.read_response().body, "still here");
}

// After a framing fault nothing that follows may be taken for a request.
TEST(Session, answers_a_broken_request_once_and_closes) {
  NetWorld world;
  const std::string smuggled = echo("smuggled");
  for (const std::string& bytes : {
           "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: "
           "chunked\r\n\r\n0\r\n\r\n" +
               smuggled,
           "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: "
           "4\r\n\r\n0\r\n\r\n" +
               smuggled,
           "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n" + smuggled,
           "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + smuggled,
           "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n" + smuggled,
           "GARBAGE\r\n\r\n" + smuggled,
       }) {
    RawClient client(world.port());
    client.send(bytes);
    const RawResponse response = client.read_response();
    EXPECT_TRUE(response.status == 400 || response.status == 501) << bytes;
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_TRUE(client.is_closed_now()) << bytes;
  }
  EXPECT_EQ(world.answered, 0);
}

TEST(Session, refuses_a_large_body_while_it_is_still_being_sent) {
  ListenOptions options;
  options.limits.max_body_bytes = 1000;
  NetWorld world(options);
  RawClient client(world.port());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n" + std::string(500000, 'x'));
  EXPECT_EQ(client.read_response().status, 413);
  EXPECT_TRUE(client.is_closed_now());
}

TEST(Session, refuses_when_all_bodies_together_are_too_large) {
  ListenOptions options;
  options.max_buffered_body_bytes = 100000;
  NetWorld world(options);
  RawClient holder(world.port());
  holder.send("POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 90000\r\n\r\n" + std::string(90000, 'x'));
  ASSERT_TRUE(eventually([&] { return world.alive == 1; }));
  RawClient second(world.port());
  second.send(echo(std::string(50000, 'y')));
  const RawResponse refused = second.read_response();
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.body.find("--max-buffered-body-bytes"), std::string::npos) << refused.body;
  holder.close();
  ASSERT_TRUE(eventually([&] { return world.alive == 0; }));
  RawClient third(world.port());
  third.send(echo(std::string(50000, 'y')));
  EXPECT_EQ(third.read_response().status, 200);
}

TEST(Session, answers_408_to_a_slow_head_and_a_slow_body) {
  ListenOptions options;
  options.head_timeout = milliseconds(50);
  options.body_timeout = milliseconds(50);
  NetWorld world(options);
  RawClient head(world.port());
  head.send("GET /id HT");
  RawResponse late = head.read_response();
  EXPECT_EQ(late.status, 408);
  EXPECT_NE(late.body.find("--head-timeout"), std::string::npos) << late.body;
  RawClient body(world.port());
  body.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
  late = body.read_response();
  EXPECT_EQ(late.status, 408);
  EXPECT_NE(late.body.find("--body-timeout"), std::string::npos) << late.body;
  EXPECT_EQ(world.answered, 0);
}

TEST(Session, closes_idle_connections_silently) {
  ListenOptions options;
  options.idle_timeout = milliseconds(50);
  NetWorld world(options);
  RawClient client(world.port());
  client.send(echo("x"));
  client.read_response();
  EXPECT_TRUE(client.is_closed_now());
  RawClient silent(world.port());
  EXPECT_TRUE(silent.is_closed_now());
}

TEST(Session, cancels_when_the_client_leaves) {
  NetWorld world;
  for (const bool reset : {false, true}) {
    RawClient client(world.port());
    client.send(get_request("/hold"));
    ASSERT_TRUE(eventually([&] { return world.alive == 1; }));
    if (reset)
      client.reset();
    else
      client.close();
    EXPECT_TRUE(eventually([&] { return world.alive == 0; }));
  }
  EXPECT_TRUE(eventually([&] { return world.records().size() == 2; }));
  EXPECT_EQ(world.records().front(), "GET /hold 499");
}

TEST(Session, cancels_when_the_client_leaves_in_the_middle_of_a_stream) {
  NetWorld world;
  RawClient client(world.port());
  client.send(get_request("/flood"));
  ASSERT_TRUE(client.wait_for("xxxx"));
  client.close();
  EXPECT_TRUE(eventually([&] { return world.alive == 0; }));
}

TEST(Session, sees_a_departure_behind_many_pipelined_bytes) {
  NetWorld world;
  RawClient client(world.port());
  client.send(get_request("/hold"));
  ASSERT_TRUE(eventually([&] { return world.alive == 1; }));
  client.send(std::string(8 << 20, 'x'));  // more than is read ahead, and more than the kernel holds
  client.close();
  EXPECT_TRUE(eventually([&] { return world.alive == 0; }));
}

TEST(Session, ends_the_connection_after_an_answer_that_too_much_was_pipelined_behind) {
  ListenOptions options;
  options.max_pipelined_bytes = 100 << 10;
  NetWorld world(options);
  RawClient client(world.port());
  client.send(get_request("/told"));
  client.send(std::string(8 << 20, 'x'));  // more than the kernel holds: the session must have read of it
  world.told = true;
  EXPECT_EQ(client.read_response().status, 200);
  EXPECT_TRUE(client.is_closed_now());
}

TEST(Session, cancels_a_client_that_does_not_read) {
  ListenOptions options;
  options.max_unsent_bytes = 256 << 10;
  NetWorld world(options);
  RawClient client(world.port(), 4096);
  client.send(get_request("/flood"));
  ASSERT_TRUE(eventually([&] { return world.flooded > 0; }));
  EXPECT_TRUE(eventually([&] { return world.alive == 0; }));
  // What was taken from the route is bounded by the buffers, not by what it could produce.
  EXPECT_LT(world.flooded, int64_t{64} << 20);
}

TEST(Session, cancels_a_whole_answer_that_nobody_takes) {
  ListenOptions options;
  options.write_timeout = milliseconds(100);
  options.limits.max_body_bytes = 64 << 20;
  NetWorld world(options);
  RawClient client(world.port(), 4096);
  std::thread sender([&] { client.send(echo(std::string(32 << 20, 'x'))); });
  EXPECT_TRUE(eventually([&] { return world.records().size() == 1; }));
  EXPECT_TRUE(eventually([&] { return world.listener().connections() == 0; }));
  sender.join();
}

TEST(Session, survives_a_route_that_throws) {
  NetWorld world;
  RawClient client(world.port());
  client.send(get_request("/throw"));
  EXPECT_EQ(client.read_response().status, 500);
  client.send(echo("on"));
  EXPECT_EQ(client.read_response().body, "on");
}

TEST(Session, answers_only_probes_when_it_has_all_the_connections_it_wants) {
  ListenOptions options;
  options.max_connections = 3;
  NetWorld world(options);
  RawClient a(world.port()), b(world.port()), c(world.port());
  for (RawClient* client : {&a, &b, &c}) {
    client->send(echo("x"));
    EXPECT_EQ(client->read_response().status, 200);
  }
  RawClient d(world.port());
  d.send(get_request("/id"));
  EXPECT_EQ(d.read_response().status, 200);
  d.send(echo("x"));
  const RawResponse refused = d.read_response();
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.body.find("--max-connections"), std::string::npos) << refused.body;
  EXPECT_TRUE(d.is_closed_now());
}

TEST(Session, asks_at_the_door_before_the_body) {
  ListenOptions options;
  options.admit = [](const HttpRequest& head, const Route&) -> std::optional<HttpResponse> {
    if (head.headers.find("authorization") != nullptr) return std::nullopt;
    return HttpResponse{401, "text/plain", {}, "no"};
  };
  NetWorld world(options);
  RawClient client(world.port());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n");  // no byte of the body
  EXPECT_EQ(client.read_response().status, 401);
  EXPECT_TRUE(client.is_closed_now());
  RawClient friendly(world.port());
  friendly.send(echo("hi", "Authorization: yes\r\n"));
  EXPECT_EQ(friendly.read_response().body, "hi");
}

TEST(Session, drains_after_the_current_answer) {
  NetWorld world;
  RawClient busy(world.port()), idle(world.port());
  idle.send(echo("x"));
  EXPECT_EQ(idle.read_response().status, 200);
  busy.send(get_request("/hold"));
  ASSERT_TRUE(eventually([&] { return world.alive == 1; }));
  world.listener().begin_drain();
  EXPECT_TRUE(idle.is_closed_now());
  EXPECT_EQ(world.alive, 1);
  RawClient probe(world.port());
  probe.send(echo("still answered"));
  const RawResponse response = probe.read_response();
  EXPECT_EQ(response.body, "still answered");
  EXPECT_EQ(response.headers.at("connection"), "close");
}

TEST(Session, answers_once_more_who_was_not_told_of_the_drain) {
  ListenOptions options;
  options.farewell = std::chrono::hours(1);  // no test of time
  NetWorld world(options);
  RawClient idle(world.port()), fresh(world.port());
  idle.send(get_request("/owed"));
  EXPECT_EQ(idle.read_response().body, "owed");
  ASSERT_TRUE(eventually([&] { return world.listener().connections() == 2; }));
  world.listener().begin_drain();
  RawClient late(world.port());
  for (RawClient* client : {&idle, &fresh, &late}) {
    client->send(get_request("/owed"));
    const RawResponse response = client->read_response();
    EXPECT_EQ(response.body, client == &late ? "not owed" : "owed");
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_TRUE(client->is_closed_now());
  }
}

TEST(Listener, says_that_a_port_is_in_use) {
  NetWorld world;
  IoThreads threads(1);
  ListenOptions options;
  options.port = world.port();
  options.render_fault = [](const HttpFault&, std::string_view) { return HttpResponse{}; };
  auto second = Listener::start(options, Routes(), threads);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("in use"), std::string::npos);
  EXPECT_NE(second.error().message.find(std::to_string(world.port())), std::string::npos);
}

TEST(Listener, cuts_everything_when_it_goes) {
  auto world = std::make_unique<NetWorld>();
  RawClient client(world->port()), idle(world->port());
  client.send(get_request("/hold"));
  idle.send(get_request("/id"));
  EXPECT_EQ(idle.read_response().status, 200);
  ASSERT_TRUE(eventually([&] { return world->alive == 1; }));
  world.reset();
  EXPECT_TRUE(client.is_closed_now());
}

TEST(Listener, serves_many_connections_on_several_threads) {
  NetWorld world({}, 3);
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int c = 0; c < 16; ++c) {
    clients.emplace_back([&, c] {
      RawClient client(world.port());
      for (int i = 0; i < 50; ++i) {
        const std::string body = std::to_string(c) + "/" + std::to_string(i);
        client.send(i % 5 == 0 ? get_request("/pieces") : echo(body));
        if (client.read_response().body == (i % 5 == 0 ? "one two" : body)) ++good;
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(good, 16 * 50);
}

}  // namespace
}  // namespace sluice
