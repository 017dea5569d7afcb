// Reads an engine's events as a router does: applies snapshot and events in their order, and checks that
// numbers have no gap and parents come first. Test threads.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "engine/kv_events.h"
#include "engine/scheduler.h"

namespace sluice::testing {

class KvFollower {
 public:
  using Blocks = std::map<uint64_t, uint64_t>;  // hash -> parent's hash
  struct Life {
    int admitted = 0, prefilled = 0, finished = 0;
    KvEvent first, last;
  };

  // `parents_first`: false where hashes collide, so that a block may outlive the one it stands behind.
  explicit KvFollower(bool parents_first = true) : parents_first_(parents_first) {}

  void open(KvEventFeed& feed, const std::function<void(std::shared_ptr<KvEventCursor>)>& attach,
            std::optional<KvEventPlace> from = std::nullopt) {
    auto opened = feed.open(from, std::make_shared<Ear>());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    reader_ = std::move(opened->reader);
    attach(std::move(opened->cursor));
  }
  void leave() { reader_.reset(); }

  // Reads one batch; true when nothing was left.
  bool read() {
    std::vector<KvEvent> events;
    state = reader_->read(events);
    EXPECT_LE(events.size(), KvEventReader::kBatch);
    if (!begun_) {
      begun_ = reader_->start();
      if (!begun_) return true;
      next_ = begun_->next;
      whole_ = begun_->resumed;
      settled_ = 0;
      if (!whole_) blocks_.clear();
    }
    for (const KvEvent& event : events) {
      apply(event);
      whole_ = whole_ || (settled_ > 0 && next_ >= settled_);
    }
    return events.empty();
  }
  void read_all() {
    while (!read()) {
    }
  }

  bool whole() const { return whole_; }  // what there is, once all events are read
  const Blocks& blocks() const { return blocks_; }
  const Life& life(const std::string& name) { return lives_[name]; }
  uint64_t next() const { return next_; }
  std::optional<KvEventReader::Start> start() const { return begun_; }
  // As after a lost connection: goes on with the blocks known so far.
  void forget_start() { begun_.reset(); }

  KvEventReader::State state = KvEventReader::State::kOpen;
  int held = 0;
  std::vector<KvLoad> loads;

 private:
  struct Ear : KvEventListener {
    void events_ready() noexcept override {}
  };

  void put(const KvEvent& event) {
    const bool first =
        event.parent == PrefixCache::start(0).hash || event.parent == PrefixCache::start(1).hash;
    if (parents_first_ && !first && !blocks_.contains(event.parent)) {
      EXPECT_LT(event.sequence, settled_);  // evicted again soon
      EXPECT_EQ(event.kind, KvEvent::Kind::kStored);
      return;
    }
    blocks_[event.hash] = event.parent;
  }

  void apply(const KvEvent& event) {
    if (event.kind == KvEvent::Kind::kHeld) {
      ++held;
      EXPECT_FALSE(whole_);
      return put(event);
    }
    if (event.kind == KvEvent::Kind::kHeldAll) {
      settled_ = event.sequence;
      return;
    }
    EXPECT_EQ(event.sequence, next_);
    ++next_;
    const std::string name(event.name());
    switch (event.kind) {
      case KvEvent::Kind::kStored:
        return put(event);
      case KvEvent::Kind::kEvicted:
        EXPECT_TRUE(blocks_.contains(event.hash) || !whole_);
        blocks_.erase(event.hash);
        return;
      case KvEvent::Kind::kAdmitted:
        ++lives_[name].admitted;
        lives_[name].first = event;
        return;
      case KvEvent::Kind::kPrefilled:
        EXPECT_LE(lives_[name].admitted, 1);
        ++lives_[name].prefilled;
        return;
      case KvEvent::Kind::kFinished:
        ++lives_[name].finished;
        lives_[name].last = event;
        return;
      default:
        loads.push_back(event.load);
    }
  }

  const bool parents_first_;
  std::unique_ptr<KvEventReader> reader_;
  std::optional<KvEventReader::Start> begun_;
  uint64_t next_ = 0;
  uint64_t settled_ = 0;  // what is known is exact before this event
  bool whole_ = false;
  Blocks blocks_;
  std::map<std::string, Life> lives_;
};

// What the cache holds in truth.
inline KvFollower::Blocks held_blocks(const PrefixCache& cache, int64_t block_count) {
  KvFollower::Blocks blocks;
  for (int32_t block = 0; block < block_count; ++block) {
    if (cache.holds(block)) blocks[cache.held(block).hash] = cache.held(block).parent;
  }
  return blocks;
}
inline KvFollower::Blocks held_blocks(const Scheduler& scheduler) {
  return held_blocks(scheduler.cache(), scheduler.pool().block_count());
}

}  // namespace sluice::testing
