#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice {
namespace {

TEST(BlockPool, hands_out_every_block_once) {
  BlockPool pool(5);
  std::vector<bool> seen(5);
  for (int i = 0; i < 5; ++i) {
    const int32_t block = pool.acquire();
    EXPECT_FALSE(seen[static_cast<size_t>(block)]);
    seen[static_cast<size_t>(block)] = true;
    EXPECT_EQ(pool.references(block), 1);
  }
  EXPECT_EQ(pool.free_count(), 0);
  EXPECT_EQ(pool.used_count(), 5);
}

TEST(BlockPool, keeps_a_shared_block_until_the_last_user_releases_it) {
  BlockPool pool(2);
  const int32_t block = pool.acquire();
  pool.share(block);
  pool.release(block);
  EXPECT_EQ(pool.free_count(), 1);
  pool.release(block);
  EXPECT_EQ(pool.free_count(), 2);
}

TEST(BlockPool, reuses_blocks_without_content_before_cached_ones) {
  BlockPool pool(3);
  const int32_t cached = pool.acquire(), plain = pool.acquire(), other = pool.acquire();
  pool.set_cached(cached, true);
  pool.release(cached);
  pool.release(plain);
  pool.release(other);
  EXPECT_EQ(pool.cached_free_count(), 1);
  EXPECT_EQ(pool.acquire(), other);
  EXPECT_EQ(pool.acquire(), plain);
  EXPECT_EQ(pool.acquire(), cached);
  EXPECT_TRUE(pool.cached(cached));  // the caller learns that a prefix goes with it
}

TEST(BlockPool, reuses_the_longest_unused_cached_block_first) {
  BlockPool pool(3);
  const int32_t a = pool.acquire(), b = pool.acquire(), c = pool.acquire();
  for (const int32_t block : {a, b, c}) pool.set_cached(block, true);
  for (const int32_t block : {b, c, a}) pool.release(block);
  pool.share(b);  // used again: youngest now
  pool.release(b);
  EXPECT_EQ(pool.acquire(), c);
  EXPECT_EQ(pool.acquire(), a);
  EXPECT_EQ(pool.acquire(), b);
}

TEST(BlockPool, a_free_block_that_loses_its_content_is_reused_next) {
  BlockPool pool(3);
  const int32_t a = pool.acquire(), b = pool.acquire();
  pool.set_cached(a, true);
  pool.set_cached(b, true);
  pool.release(a);
  pool.release(b);
  pool.set_cached(b, false);
  EXPECT_EQ(pool.cached_free_count(), 1);
  EXPECT_EQ(pool.acquire(), b);
}

TEST(BlockPoolDeathTest, a_block_released_twice_stops_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  BlockPool pool(1);
  const int32_t block = pool.acquire();
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "CHECK failed");
}

TEST(BlockPool, counts_add_up_through_any_history) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const auto total = static_cast<int32_t>(1 + random() % 20);
    BlockPool pool(total);
    std::vector<int32_t> references(static_cast<size_t>(total));
    std::vector<bool> cached(static_cast<size_t>(total));
    for (int step = 0; step < 500; ++step) {
      const auto block = static_cast<int32_t>(random() % static_cast<uint64_t>(total));
      const auto at = static_cast<size_t>(block);
      switch (random() % 4) {
        case 0:
          if (pool.free_count() > 0) {
            const int32_t got = pool.acquire();
            ASSERT_EQ(references[static_cast<size_t>(got)]++, 0);
          }
          break;
        case 1:
          if (references[at] > 0 || cached[at]) {
            pool.share(block);
            ++references[at];
          }
          break;
        case 2:
          if (references[at] > 0) {
            pool.release(block);
            --references[at];
          }
          break;
        default:
          cached[at] = random() % 2 == 0;
          pool.set_cached(block, cached[at]);
      }
      int64_t free = 0, cached_free = 0;
      for (size_t b = 0; b < references.size(); ++b) {
        ASSERT_EQ(pool.references(static_cast<int32_t>(b)), references[b]);
        free += references[b] == 0 ? 1 : 0;
        cached_free += references[b] == 0 && cached[b] ? 1 : 0;
      }
      ASSERT_EQ(pool.free_count(), free);
      ASSERT_EQ(pool.cached_free_count(), cached_free);
      ASSERT_EQ(pool.used_count() + pool.free_count(), total);
    }
  }
}

}  // namespace
}  // namespace sluice
