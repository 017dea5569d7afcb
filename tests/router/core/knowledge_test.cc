#include "router/core/knowledge.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sluice::router {
namespace {

using Kind = KvEvent::Kind;
using Verdict = KvKnowledge::Verdict;

// An engine that tells what it does, over a line that may lose, repeat and break.
class Teller {
 public:
  void store(uint64_t hash) {
    blocks_.insert(hash);
    tell({.kind = Kind::kStored, .hash = hash, .parent = hash - 1});
  }
  void evict(uint64_t hash) {
    blocks_.erase(hash);
    tell({.kind = Kind::kEvicted, .hash = hash});
  }
  void restart() {
    ++epoch_;
    sequence_ = 0;
    blocks_.clear();
    log_.clear();
  }
  std::vector<KvEvent> snapshot() {
    std::vector<KvEvent> lines = {{.kind = Kind::kSnapshotBegin, .epoch = epoch_, .sequence = sequence_}};
    for (const uint64_t hash : blocks_) {
      lines.push_back({.kind = Kind::kHeld, .epoch = epoch_, .hash = hash, .parent = hash - 1});
    }
    lines.push_back({.kind = Kind::kSnapshotEnd, .epoch = epoch_, .sequence = sequence_ + 1});
    log_.clear();
    return lines;
  }
  std::vector<KvEvent> take() { return std::exchange(log_, {}); }
  const std::set<uint64_t>& blocks() const { return blocks_; }

 private:
  void tell(KvEvent event) {
    event.epoch = epoch_;
    event.sequence = ++sequence_;
    log_.push_back(event);
  }
  std::set<uint64_t> blocks_;
  std::vector<KvEvent> log_;
  uint64_t epoch_ = 1000;
  uint64_t sequence_ = 0;
};

TEST(Knowledge, is_exact_or_says_that_it_is_not) {
  uint64_t repairs = 0, gaps = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    PrefixIndex index({.budget_bytes = 1 << 20, .secret = seed});
    Replica replica;
    replica.holder = *index.add_holder(0);
    KvKnowledge knowledge(index, replica);
    Teller teller;
    std::vector<KvEvent> line = teller.snapshot();
    bool wants_snapshot = false;
    for (int step = 0; step < 600; ++step) {
      const uint64_t hash = 1 + random() % 200;
      if (random() % 300 == 0) {
        teller.restart();
        line.clear();
        if (random() % 2 == 0) {
          knowledge.disconnected();
          line = teller.snapshot();
        }
      } else if (random() % 3 != 0) {
        teller.store(hash);
      } else {
        teller.evict(hash);
      }
      for (const KvEvent& event : teller.take()) {
        const bool lost = random() % 100 == 0;
        if (!lost) line.push_back(event);
        if (random() % 50 == 0) line.push_back(event);
      }
      if (wants_snapshot && random() % 4 == 0) {
        line = teller.snapshot();
        wants_snapshot = false;
      }
      if (random() % 5 == 0) continue;  // the line is slow
      for (const KvEvent& event : line) {
        const Verdict verdict = knowledge.apply(event);
        if (verdict == Verdict::kNeedsSnapshot) {
          ASSERT_FALSE(wants_snapshot) << "asked twice, seed " << seed;
          wants_snapshot = true;
        }
      }
      line.clear();
      if (replica.knowledge != Knowledge::kExact || wants_snapshot) continue;
      // Losses at the very end of what was told cannot be known yet.
      if (knowledge.sequence() == 0) continue;
      teller.evict(999'999);
      for (const KvEvent& event : teller.take())
        wants_snapshot |= knowledge.apply(event) == Verdict::kNeedsSnapshot;
      if (wants_snapshot) continue;
      for (uint64_t h = 1; h <= 200; ++h) {
        ASSERT_EQ(index.holds(replica.holder, h), teller.blocks().contains(h))
            << "seed " << seed << " step " << step;
      }
    }
    repairs += knowledge.repairs();
    gaps += knowledge.gaps();
  }
  EXPECT_GT(repairs, 100U);
  EXPECT_GT(gaps, 100U);
}

TEST(Knowledge, the_old_counts_until_the_new_is_complete) {
  PrefixIndex index({.budget_bytes = 1 << 20, .secret = 1});
  Replica replica;
  replica.holder = *index.add_holder(0);
  KvKnowledge knowledge(index, replica);
  Teller teller;
  teller.store(5);
  for (const KvEvent& event : teller.snapshot()) knowledge.apply(event);
  ASSERT_EQ(replica.knowledge, Knowledge::kExact);
  teller.restart();
  teller.store(6);
  teller.store(7);
  auto lines = teller.take();
  EXPECT_EQ(knowledge.apply(lines[0]), Verdict::kNeedsSnapshot);
  EXPECT_EQ(knowledge.apply(lines[1]), Verdict::kIgnored);
  EXPECT_EQ(replica.knowledge, Knowledge::kRepairing);
  EXPECT_TRUE(index.holds(replica.holder, 5));
  lines = teller.snapshot();
  for (size_t i = 0; i + 1 < lines.size(); ++i) knowledge.apply(lines[i]);
  EXPECT_TRUE(index.holds(replica.holder, 5));
  knowledge.apply(lines.back());
  EXPECT_EQ(replica.knowledge, Knowledge::kExact);
  EXPECT_FALSE(index.holds(replica.holder, 5));
  EXPECT_TRUE(index.holds(replica.holder, 7));
}

TEST(Knowledge, a_snapshot_mixed_with_what_happens_is_exact_once_it_is_settled) {
  PrefixIndex index({.budget_bytes = 1 << 20, .secret = 1});
  Replica replica;
  replica.holder = *index.add_holder(0);
  KvKnowledge knowledge(index, replica);
  const auto tell = [&](KvEvent event) {
    event.epoch = 7;
    return knowledge.apply(event);
  };
  tell({.kind = Kind::kSnapshotBegin, .sequence = 10});
  tell({.kind = Kind::kHeld, .hash = 1});
  tell({.kind = Kind::kStored, .sequence = 11, .hash = 2});
  tell({.kind = Kind::kEvicted, .sequence = 12, .hash = 1});
  tell({.kind = Kind::kHeld, .hash = 2});
  tell({.kind = Kind::kHeld, .hash = 3});
  tell({.kind = Kind::kSnapshotEnd, .sequence = 14});
  EXPECT_EQ(replica.knowledge, Knowledge::kRepairing);
  tell({.kind = Kind::kEvicted, .sequence = 13, .hash = 3});
  EXPECT_EQ(replica.knowledge, Knowledge::kExact);
  EXPECT_FALSE(index.holds(replica.holder, 1));
  EXPECT_TRUE(index.holds(replica.holder, 2));
  EXPECT_FALSE(index.holds(replica.holder, 3));
}

TEST(Knowledge, goes_on_where_a_connection_broke) {
  PrefixIndex index({.budget_bytes = 1 << 20, .secret = 1});
  Replica replica;
  replica.holder = *index.add_holder(0);
  KvKnowledge knowledge(index, replica);
  EXPECT_FALSE(knowledge.place().has_value());
  Teller teller;
  teller.store(5);
  for (const KvEvent& event : teller.snapshot()) knowledge.apply(event);
  knowledge.disconnected();
  EXPECT_EQ(replica.knowledge, Knowledge::kRepairing);
  ASSERT_TRUE(knowledge.place().has_value());
  EXPECT_EQ(knowledge.place()->sequence, 2U);
  EXPECT_EQ(knowledge.apply({.kind = Kind::kResumed, .epoch = 1000, .sequence = 2}), Verdict::kApplied);
  EXPECT_EQ(replica.knowledge, Knowledge::kExact);
  EXPECT_TRUE(index.holds(replica.holder, 5));
  knowledge.disconnected();
  EXPECT_NE(knowledge.apply({.kind = Kind::kResumed, .epoch = 1001, .sequence = 2}), Verdict::kApplied);
  EXPECT_EQ(replica.knowledge, Knowledge::kRepairing);
}

TEST(Knowledge, endless_snapshots_and_nonsense_hurt_nobody_else) {
  PrefixIndex index({.budget_bytes = 1 << 20, .secret = 1});
  Replica honest, liar;
  honest.holder = *index.add_holder(0);
  liar.holder = *index.add_holder(0);
  liar.spec.kv_tokens = 1600;
  KvKnowledge first(index, honest), second(index, liar);
  Teller teller;
  for (uint64_t hash = 1; hash <= 100; ++hash) teller.store(hash);
  for (const KvEvent& event : teller.snapshot()) first.apply(event);
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    second.apply({.kind = static_cast<Kind>(random() % 10),
                  .epoch = random() % 2,
                  .sequence = random() % 4 == 0 ? random() : second.sequence() + 1,
                  .hash = random() % 2 == 0 ? random() : random() % 100,
                  .parent = random()});
    if (i % 64 == 0) index.sweep(8);
  }
  ASSERT_EQ(honest.knowledge, Knowledge::kExact);
  for (uint64_t hash = 1; hash <= 100; ++hash) ASSERT_TRUE(index.holds(honest.holder, hash)) << hash;
  EXPECT_LE(index.reported_blocks(liar.holder), 100 + 100 / 8 + 64U);
}

}  // namespace
}  // namespace sluice::router
