#include "router/core/prefix_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/hash.h"
#include "router/core/prefix_match.h"

namespace sluice::router {
namespace {

// What the index promises, kept in maps.
class NaiveIndex {
 public:
  void store(HolderId holder, uint64_t hash) { holders_[hash][holder] = ~uint64_t{0}; }
  void evict(HolderId holder, uint64_t hash) { holders_[hash].erase(holder); }
  void place(HolderId holder, uint64_t hash, Tick when) {
    uint64_t& at = holders_[hash][holder];
    at = std::max<uint64_t>(at, when);
  }
  void retire(HolderId holder) {
    for (auto& [hash, holders] : holders_) holders.erase(holder);
    horizon_.erase(holder);
  }
  void set_horizon(HolderId holder, Tick horizon) { horizon_[holder] = horizon; }
  HolderSet holders_of(uint64_t hash) {
    HolderSet set;
    for (const auto& [holder, when] : holders_[hash]) {
      if (when >= horizon_[holder]) set.set(holder);
    }
    return set;
  }

 private:
  std::map<uint64_t, std::map<HolderId, uint64_t>> holders_;
  std::map<HolderId, Tick> horizon_;
};

TEST(PrefixIndex, agrees_with_maps_over_random_histories) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    PrefixIndex index({.budget_bytes = 4 << 20, .secret = seed});
    NaiveIndex naive;
    std::vector<HolderId> alive;
    std::map<HolderId, Tick> horizons;
    const size_t replicas = 1 + random() % 60;
    Tick now = 100;
    for (int step = 0; step < 4000; ++step) {
      now += random() % 3;
      const uint64_t hash = 1 + random() % 300;
      if (alive.size() < replicas && (alive.empty() || random() % 8 == 0)) {
        const auto holder = index.add_holder(1'000'000);
        ASSERT_TRUE(holder.has_value());
        naive.retire(*holder);
        naive.set_horizon(*holder, 0);
        alive.push_back(*holder);
        continue;
      }
      const size_t at = random() % alive.size();
      const HolderId holder = alive[at];
      switch (random() % 12) {
        case 0:
          if (random() % 20 != 0) break;
          index.retire(holder);
          naive.retire(holder);
          alive.erase(alive.begin() + static_cast<int64_t>(at));
          break;
        case 1:
          index.sweep(random() % 30);
          break;
        case 2:
          // Horizons only go on: what was forgotten does not come back.
          horizons[holder] = std::max(horizons[holder], static_cast<Tick>(now - random() % 50));
          index.set_horizon(holder, now);
          naive.set_horizon(holder, now);
          break;
        case 3:
        case 4:
          index.evict(holder, hash);
          naive.evict(holder, hash);
          break;
        case 5:
        case 6:
        case 7: {
          const Tick when = now + random() % 40;
          index.place(holder, hash, hash - 1, when);
          naive.place(holder, hash, when);
          break;
        }
        default:
          index.store(holder, hash, hash - 1);
          naive.store(holder, hash);
      }
      PrefixIndex::Answer answer;
      index.add_holders_of({&hash, 1}, {&answer, 1});
      ASSERT_EQ(answer.holders, naive.holders_of(hash)) << "seed " << seed << " step " << step;
    }
    ASSERT_EQ(index.stats().unrecorded_holders, 0U);
  }
}

TEST(PrefixIndex, keeps_its_bytes_and_what_is_used_under_endless_unique_prefixes) {
  PrefixIndex index({.budget_bytes = 1 << 20, .secret = 3});
  const uint64_t bytes = index.stats().bytes;
  EXPECT_LE(bytes, 1U << 20);
  const HolderId holder = *index.add_holder(1 << 30);
  for (uint64_t hash = 1; hash <= 1000; ++hash) index.place(holder, hash, hash - 1, 10);
  uint64_t attack = 1 << 20;
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 10'000; ++i, ++attack) index.store(holder, attack * 0x9e3779b97f4a7c15ULL, 0);
    for (uint64_t hash = 1; hash <= 1000; ++hash) index.touch(hash);
  }
  size_t kept = 0;
  for (uint64_t hash = 1; hash <= 1000; ++hash) kept += index.holds(holder, hash) ? 1 : 0;
  EXPECT_GE(kept, 990U);
  EXPECT_EQ(index.stats().bytes, bytes);
  EXPECT_LE(index.stats().blocks, index.stats().capacity_blocks);
  EXPECT_LE(index.reported_blocks(holder), index.stats().capacity_blocks);
  EXPECT_GT(index.stats().evictions, 900'000U);
}

TEST(PrefixIndex, a_replica_reports_no_more_than_it_can_hold) {
  PrefixIndex index({.budget_bytes = 4 << 20, .secret = 3});
  const HolderId liar = *index.add_holder(100);
  const HolderId honest = *index.add_holder(100);
  for (uint64_t hash = 1; hash <= 50; ++hash) index.store(honest, hash, 0);
  for (uint64_t hash = 1; hash <= 5000; ++hash) index.store(liar, hash, 0);
  EXPECT_EQ(index.reported_blocks(liar), 100U);
  EXPECT_EQ(index.stats().refused_reports, 4900U);
  for (uint64_t hash = 1; hash <= 50; ++hash) EXPECT_TRUE(index.holds(honest, hash));
  index.evict(liar, 1);
  EXPECT_TRUE(index.store(liar, 777'777, 0));
  EXPECT_FALSE(index.store(liar, 777'778, 0));
}

TEST(PrefixIndex, colliding_hashes_cost_places_and_no_time) {
  // Without the secret nobody can aim at a set; even equal low or high bits spread.
  PrefixIndex index({.budget_bytes = 4 << 20, .secret = 12345});
  const HolderId holder = *index.add_holder(1 << 30);
  const uint64_t count = index.stats().capacity_blocks / 2;
  for (uint64_t i = 0; i < count; ++i) index.store(holder, i << 40, 0);
  EXPECT_EQ(index.stats().evictions, 0U);
  EXPECT_EQ(index.stats().blocks, count);
}

TEST(PrefixIndex, forgets_holders_when_the_pool_is_spent_and_says_so) {
  PrefixIndex index({.budget_bytes = 64 << 10, .secret = 1});
  std::vector<HolderId> holders;
  for (int i = 0; i < 500; ++i) holders.push_back(*index.add_holder(1 << 20));
  for (uint64_t hash = 1; hash <= 100; ++hash) {
    for (const HolderId holder : holders) index.store(holder, hash, 0);
  }
  EXPECT_GT(index.stats().unrecorded_holders, 0U);
  for (const HolderId holder : holders) {
    for (uint64_t hash = 1; hash <= 100; ++hash) index.evict(holder, hash);
    EXPECT_EQ(index.reported_blocks(holder), 0U);
  }
  EXPECT_EQ(index.stats().blocks, 0U);
  // Every node came back.
  for (const HolderId holder : std::span(holders).first(20)) EXPECT_TRUE(index.store(holder, 5, 0));
  for (const HolderId holder : std::span(holders).first(20)) EXPECT_TRUE(index.holds(holder, 5));
}

TEST(PrefixIndex, ids_of_retired_holders_come_back_clean) {
  PrefixIndex index({.budget_bytes = 256 << 10, .secret = 1});
  for (int round = 0; round < 3000; ++round) {
    const auto holder = index.add_holder(1000);
    ASSERT_TRUE(holder.has_value()) << round;
    EXPECT_FALSE(index.holds(*holder, 42)) << round;
    index.store(*holder, 42, 0);
    index.retire(*holder);
  }
}

// --- the walk over a chain ---

struct Tree {
  explicit Tree(uint64_t seed) : random(seed) {}
  PromptChain chain(std::initializer_list<std::pair<int, size_t>> branches) {
    PromptChain chain{.kind = PromptChain::Kind::kBlocks, .unit = 16};
    uint64_t hash = 1;
    for (const auto& [branch, blocks] : branches) {
      for (size_t i = 0; i < blocks; ++i) {
        hash = hash_combine(hash, static_cast<uint64_t>(branch));
        chain.hashes.push_back(hash);
      }
    }
    chain.size = chain.hashes.size() * 16;
    return chain;
  }
  std::mt19937_64 random;
};

TEST(PrefixMatch, finds_each_holders_depth_as_a_walk_would) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Tree tree(seed);
    PrefixIndex index({.budget_bytes = 8 << 20, .secret = seed});
    TextDictionary dictionary(1 << 16, seed);
    const PromptChain chain = tree.chain({{1, 1 + tree.random() % 700}});
    std::map<HolderId, size_t> depth;
    const size_t holders = 1 + tree.random() % 200;
    for (size_t i = 0; i < holders; ++i) {
      const HolderId holder = *index.add_holder(1 << 20);
      const size_t blocks = tree.random() % 3 == 0 ? chain.hashes.size() * (tree.random() % 4) / 3
                                                   : tree.random() % (chain.hashes.size() + 1);
      for (size_t b = 0; b < blocks; ++b) {
        index.store(holder, chain.hashes[b], b == 0 ? 0 : chain.hashes[b - 1]);
      }
      depth[holder] = blocks;
    }
    auto match = std::make_unique<PrefixMatch>();
    match_prefix(chain, 0.25, index, dictionary, *match);
    for (const auto& [holder, blocks] : depth) {
      ASSERT_EQ(match->tokens[holder], blocks * 16) << "seed " << seed << " holder " << holder;
    }
  }
}

TEST(PrefixMatch, sees_past_an_entry_that_the_budget_took) {
  Tree tree(1);
  PrefixIndex index({.budget_bytes = 8 << 20, .secret = 1});
  TextDictionary dictionary(1 << 16, 1);
  const PromptChain chain = tree.chain({{1, 500}});
  const HolderId holder = *index.add_holder(1 << 20);
  for (size_t b = 0; b < 300; ++b) {
    if (b % 10 != 3) index.store(holder, chain.hashes[b], 0);
  }
  auto match = std::make_unique<PrefixMatch>();
  match_prefix(chain, 0.25, index, dictionary, *match);
  EXPECT_EQ(match->tokens[holder], 300 * 16U);
}

TEST(PrefixMatch, asks_few_questions) {
  Tree tree(1);
  PrefixIndex index({.budget_bytes = 64 << 20, .secret = 1});
  TextDictionary dictionary(1 << 16, 1);
  const PromptChain chain = tree.chain({{1, 6250}});  // 100,000 tokens
  for (int i = 0; i < 200; ++i) {
    const HolderId holder = *index.add_holder(1 << 20);
    const size_t blocks = i == 0 ? 5000 : i < 10 ? 500 : 50;
    for (size_t b = 0; b < blocks; ++b) index.store(holder, chain.hashes[b], 0);
  }
  auto match = std::make_unique<PrefixMatch>();
  match_prefix(chain, 0.25, index, dictionary, *match);
  EXPECT_EQ(match->holders.count(), 200U);
  EXPECT_EQ(match->longest, 5000 * 16U);
  EXPECT_LE(match->probes, 80);
  EXPECT_LE(match->rounds, 7);
}

TEST(PrefixMatch, a_burst_sees_its_own_placements) {
  Tree tree(1);
  PrefixIndex index({.budget_bytes = 1 << 20, .secret = 1});
  TextDictionary dictionary(1 << 16, 1);
  PromptChain chain = tree.chain({{1, 50}});
  chain.kind = PromptChain::Kind::kText;
  chain.unit = kChunkBytes;
  const HolderId holder = *index.add_holder(1 << 20);
  index.set_horizon(holder, 100);
  place_prompt(chain, holder, 110, index, dictionary);
  auto match = std::make_unique<PrefixMatch>();
  match_prefix(chain, 0.25, index, dictionary, *match);
  EXPECT_EQ(match->tokens[holder], 50 * 128U);
  index.set_horizon(holder, 111);
  match_prefix(chain, 0.25, index, dictionary, *match);
  EXPECT_EQ(match->tokens[holder], 0U);
}

}  // namespace
}  // namespace sluice::router
