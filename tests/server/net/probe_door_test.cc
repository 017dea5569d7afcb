#include "server/net/probe_door.h"

#include <gtest/gtest.h>

#include <latch>

#include "tests/server/net/net_world.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using testing::eventually;
using testing::get_request;
using testing::RawClient;

HttpResponse saying(int status) {
  HttpResponse response;
  response.status = status;
  return response;
}

TEST(ProbeDoor, answers_while_the_threads_are_busy_and_tells_when_one_hangs) {
  IoThreads watched(2);
  std::atomic<int> readiness = 503;
  auto door = ProbeDoor::open({.port = 0, .stall = milliseconds(1500)}, watched,
                              {[] { return saying(200); }, [&] { return saying(readiness); }});
  ASSERT_TRUE(door.ok());
  const auto ask = [&](const char* path) {
    RawClient client((*door)->port());
    client.send(get_request(path));
    return client.read_response().status;
  };
  EXPECT_EQ(ask("/ready"), 503);
  readiness = 200;
  EXPECT_EQ(ask("/ready"), 200);
  EXPECT_EQ(ask("/metrics"), 404);
  std::latch over(1);
  watched.at(1).post([&] { over.wait(); });
  EXPECT_TRUE(eventually([&] { return ask("/health") == 503; }));
  EXPECT_EQ(ask("/ready"), 503);
  over.count_down();
  EXPECT_TRUE(eventually([&] { return ask("/health") == 200; }));
}

TEST(ProbeDoor, needs_a_port_that_is_free) {
  testing::NetWorld other;
  IoThreads watched(1);
  const auto door = ProbeDoor::open({.port = other.port()}, watched, {});
  ASSERT_FALSE(door.ok());
  EXPECT_NE(door.error().message.find("in use"), std::string::npos) << door.error().message;
}

}  // namespace
}  // namespace sluice
