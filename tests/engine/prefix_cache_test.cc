#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace sluice {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int kBlock = 2;
const Tokens kA{1, 2}, kB{3, 4}, kC{5, 6};

uint64_t always_equal(uint64_t, std::span<const int32_t>) {
  return 42;
}
uint64_t few_values(uint64_t parent, std::span<const int32_t> tokens) {
  return block_hash(parent, tokens) % 3;
}

// The blocks found for a chain of token blocks, until the first that is missing.
std::vector<int32_t> find_all(const PrefixCache& cache, uint64_t salt, const std::vector<Tokens>& prefix) {
  std::vector<int32_t> found;
  PrefixChain chain = PrefixCache::start(salt);
  for (const Tokens& tokens : prefix) {
    const int32_t block = cache.find(chain, tokens);
    if (block == PrefixCache::kNone) break;
    found.push_back(block);
  }
  return found;
}

void add_all(PrefixCache& cache, uint64_t salt, const std::vector<Tokens>& prefix,
             const std::vector<int32_t>& blocks) {
  PrefixChain chain = PrefixCache::start(salt);
  for (size_t i = 0; i < prefix.size(); ++i) cache.add(chain, prefix[i], blocks[i]);
}

TEST(PrefixCache, finds_the_longest_known_prefix) {
  PrefixCache cache(8, kBlock);
  add_all(cache, 0, {kA, kB}, {5, 3});
  EXPECT_EQ(find_all(cache, 0, {kA, kB, kC}), (std::vector<int32_t>{5, 3}));
  EXPECT_EQ(find_all(cache, 0, {kA, kC}), (std::vector<int32_t>{5}));
  EXPECT_EQ(find_all(cache, 0, {kB}), (std::vector<int32_t>{}));
}

TEST(PrefixCache, the_same_tokens_behind_another_prefix_are_another_block) {
  PrefixCache cache(8, kBlock);
  add_all(cache, 0, {kA, kC}, {0, 1});
  add_all(cache, 0, {kB, kC}, {2, 3});
  EXPECT_EQ(find_all(cache, 0, {kA, kC}), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(find_all(cache, 0, {kB, kC}), (std::vector<int32_t>{2, 3}));
}

TEST(PrefixCache, salts_share_nothing) {
  for (const BlockHash hash : {block_hash, always_equal}) {
    PrefixCache cache(8, kBlock, hash);
    add_all(cache, 1, {kA}, {0});
    EXPECT_EQ(find_all(cache, 2, {kA}), (std::vector<int32_t>{}));
    EXPECT_EQ(find_all(cache, 0, {kA}), (std::vector<int32_t>{}));
    EXPECT_EQ(find_all(cache, 1, {kA}), (std::vector<int32_t>{0}));
  }
}

TEST(PrefixCache, an_equal_block_keeps_the_first_holder) {
  PrefixCache cache(8, kBlock);
  add_all(cache, 0, {kA}, {0});
  PrefixChain chain = PrefixCache::start(0);
  const auto added = cache.add(chain, kA, 1);
  EXPECT_EQ(added.holder, 0);
  EXPECT_EQ(added.displaced, PrefixCache::kNone);
  EXPECT_FALSE(cache.holds(1));
  cache.add(chain, kB, 2);  // goes on behind the holder
  EXPECT_EQ(find_all(cache, 0, {kA, kB}), (std::vector<int32_t>{0, 2}));
}

TEST(PrefixCache, forgets_one_block_and_keeps_its_siblings) {
  PrefixCache cache(8, kBlock);
  add_all(cache, 0, {kA, kB}, {0, 1});
  add_all(cache, 0, {kA, kC}, {4, 2});
  cache.forget(1);
  cache.forget(1);
  EXPECT_EQ(find_all(cache, 0, {kA, kB}), (std::vector<int32_t>{0}));
  EXPECT_EQ(find_all(cache, 0, {kA, kC}), (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(cache.size(), 2);
}

TEST(PrefixCache, a_hash_collision_is_never_a_match) {
  PrefixCache cache(8, kBlock, always_equal);
  add_all(cache, 0, {kA}, {0});
  EXPECT_EQ(find_all(cache, 0, {kB}), (std::vector<int32_t>{}));
  PrefixChain chain = PrefixCache::start(0);
  const auto added = cache.add(chain, kB, 1);
  EXPECT_EQ(added.holder, 1);
  EXPECT_EQ(added.displaced, 0);
  EXPECT_FALSE(cache.holds(0));
  EXPECT_EQ(find_all(cache, 0, {kB}), (std::vector<int32_t>{1}));
}

// X and Y collide; a child of X must not be found behind Y, though its parent's hash and its tokens are
// equal.
TEST(PrefixCache, a_child_is_bound_to_its_very_parent_not_to_its_hash) {
  const BlockHash by_last_token = [](uint64_t, std::span<const int32_t> t) {
    return static_cast<uint64_t>(t[1]);
  };
  const Tokens x{10, 7}, y{11, 7}, child{1, 8};
  PrefixCache cache(8, kBlock, by_last_token);
  add_all(cache, 0, {x, child}, {0, 1});
  add_all(cache, 0, {y}, {2});  // displaces x
  EXPECT_EQ(find_all(cache, 0, {y, child}), (std::vector<int32_t>{2}));
  EXPECT_EQ(find_all(cache, 0, {x, child}), (std::vector<int32_t>{}));
}

// Against a map of whole prefixes, with a hash that collides all the time.
TEST(PrefixCache, never_finds_what_was_not_added) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    constexpr int kBlocks = 12;
    PrefixCache cache(kBlocks, kBlock, seed % 2 == 0 ? few_values : block_hash);
    std::map<int32_t, Tokens> content;  // block -> salt and all tokens up to it
    for (int step = 0; step < 400; ++step) {
      const auto salt = random() % 2;
      Tokens prefix{static_cast<int32_t>(salt)};
      PrefixChain chain = PrefixCache::start(salt);
      for (int depth = 0; depth < 3; ++depth) {
        const Tokens tokens{static_cast<int32_t>(random() % 3), static_cast<int32_t>(random() % 2)};
        prefix.insert(prefix.end(), tokens.begin(), tokens.end());
        const int32_t found = cache.find(chain, tokens);
        if (found != PrefixCache::kNone) {
          ASSERT_EQ(content.at(found), prefix);
          continue;
        }
        const auto block = static_cast<int32_t>(random() % kBlocks);
        cache.forget(block);
        const auto added = cache.add(chain, tokens, block);
        content[block] = prefix;
        ASSERT_EQ(added.holder, block);
      }
    }
  }
}

}  // namespace
}  // namespace sluice
