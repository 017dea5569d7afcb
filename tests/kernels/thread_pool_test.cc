#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace sluice::cpu {
namespace {

TEST(ThreadPool, runs_every_part_once) {
  for (const int threads : {1, 2, 4, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 300; ++round) {
      const int parts = round % 23;
      std::vector<std::atomic<int>> seen(static_cast<size_t>(parts) + 1);
      pool.run(parts, [&](int part, int) { ++seen[static_cast<size_t>(part)]; });
      for (int p = 0; p < parts; ++p)
        ASSERT_EQ(seen[static_cast<size_t>(p)], 1) << threads << " threads, part " << p;
      ASSERT_EQ(seen.back(), 0);
    }
  }
}

TEST(ThreadPool, a_thread_number_is_never_used_twice_at_once) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<int> collisions{0};
  for (int round = 0; round < 200; ++round) {
    pool.run(40, [&](int, int thread) {
      if (inside[static_cast<size_t>(thread)].fetch_add(1) != 0) ++collisions;
      inside[static_cast<size_t>(thread)].fetch_sub(1);
    });
  }
  EXPECT_EQ(collisions, 0);
}

// What one region wrote the next one reads, without atomics: the pool's own ordering is under test (and under
// tsan).
TEST(ThreadPool, regions_happen_one_after_another) {
  ThreadPool pool(4);
  std::vector<int> values(64, 0);
  for (int round = 1; round <= 2000; ++round) {
    pool.run(64, [&](int part, int) {
      const auto p = static_cast<size_t>(part);
      values[p] = values[p] + 1;
    });
    for (const int v : values) ASSERT_EQ(v, round);
  }
}

TEST(ThreadPool, wakes_workers_that_have_gone_to_sleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int> sum{0};
    pool.run(100, [&](int part, int) { sum += part; });
    EXPECT_EQ(sum, 4950);
  }
}

TEST(ThreadPool, finds_at_least_one_core) {
  EXPECT_GE(usable_cores(), 1);
}

}  // namespace
}  // namespace sluice::cpu
