#include "base/bell.h"

#include <gtest/gtest.h>

#include <thread>

namespace sluice {
namespace {

using std::chrono::milliseconds;

TEST(Bell, no_ring_is_missed_however_the_threads_meet) {
  Bell bell;
  std::atomic<int> ball{0};
  constexpr int kRounds = 4000;
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_TRUE(bell.wait(std::chrono::seconds(20), [&] { return ball.load() == 2 * i + 1; }));
      if (i % 997 == 0) std::this_thread::sleep_for(milliseconds(1));  // the one who waits falls asleep
      ball.store(2 * i + 2);
      bell.ring();
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    if (i % 991 == 0) std::this_thread::sleep_for(milliseconds(1));
    ball.store(2 * i + 1);
    bell.ring();
    ASSERT_TRUE(bell.wait(std::chrono::seconds(20), [&] { return ball.load() == 2 * i + 2; }));
  }
  other.join();
}

TEST(Bell, a_wait_ends_when_nobody_rings) {
  Bell bell;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(bell.wait(milliseconds(20), [] { return false; }));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(20));
}

}  // namespace
}  // namespace sluice
