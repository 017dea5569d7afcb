#include "engine/kv_events.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/engine/engine_world.h"
#include "tests/engine/kv_follower.h"

namespace sluice {
namespace {

using testing::held_blocks;
using testing::KvFollower;
using State = KvEventReader::State;

// A prefix cache whose blocks come and go by hand, and a feed that tells of it.
struct World {
  explicit World(int64_t blocks, size_t capacity = KvEventFeed::kCapacity)
      : block_count(blocks), cache(blocks, 16), feed(42, capacity) {}

  // The next free block goes on behind `chain`.
  void grow(PrefixChain& chain, int32_t first_token) {
    const int32_t block = next_block++ % static_cast<int32_t>(block_count);
    cache.forget(block);
    std::vector<int32_t> tokens(16, first_token);
    cache.add(chain, tokens, block);
  }
  void grow_chain(int32_t first_token, int length) {
    PrefixChain chain = PrefixCache::start(0);
    for (int i = 0; i < length; ++i) grow(chain, first_token);
  }
  void open(KvFollower& follower, std::optional<KvEventPlace> from = std::nullopt) {
    follower.open(
        feed, [this](auto cursor) { feed.attach(std::move(cursor), cache); }, from);
  }
  void expect_equal(const KvFollower& follower) {
    EXPECT_TRUE(follower.whole());
    EXPECT_EQ(follower.blocks(), held_blocks(cache, block_count));
  }

  const int64_t block_count;
  PrefixCache cache;
  KvEventFeed feed;
  int32_t next_block = 0;
};

TEST(KvEvents, keep_nothing_before_somebody_asks) {
  World world(64);
  world.grow_chain(1, 5);
  world.feed.admitted({"a", 0}, {});
  world.feed.publish(world.cache);
  EXPECT_FALSE(world.feed.on());
  EXPECT_FALSE(world.feed.load_waits());
  KvFollower follower;
  world.open(follower);
  world.feed.publish(world.cache);
  follower.read_all();
  EXPECT_EQ(follower.start()->next, 1U);
  EXPECT_EQ(follower.start()->epoch, 42U);
  EXPECT_EQ(follower.held, 5);
  world.expect_equal(follower);
}

TEST(KvEvents, take_a_snapshot_while_blocks_come_and_go) {
  for (int seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    World world(10000);
    for (int32_t chain = 0; chain < 400; ++chain) world.grow_chain(chain, 25);
    KvFollower follower(/*parents_first=*/false);  // blocks are taken here from the middle of chains too
    world.open(follower);
    for (int rounds = 0; !follower.whole(); follower.read()) {
      ASSERT_LT(++rounds, 10000);
      for (int i = 0; i < 20; ++i) world.cache.forget(static_cast<int32_t>(random() % 10000));
      world.grow_chain(100000 + rounds, 3);
      world.feed.publish(world.cache);
    }
    follower.read_all();
    world.expect_equal(follower);
  }
}

TEST(KvEvents, name_parents_before_their_children) {
  World world(8000);
  // Chains that grow in turn, so that neither slots nor hashes are in the order of depth.
  std::vector<PrefixChain> chains(80, PrefixCache::start(0));
  for (int depth = 0; depth < 90; ++depth) {
    for (size_t c = 0; c < chains.size(); ++c)
      world.grow(chains[(c * 37) % 80], static_cast<int32_t>((c * 37) % 80));
  }
  KvFollower follower;
  world.open(follower);
  while (!(follower.read() && follower.whole())) world.feed.publish(world.cache);
  EXPECT_EQ(follower.held, 7200);
  world.expect_equal(follower);
}

TEST(KvEvents, go_on_where_a_reader_left_while_it_is_remembered) {
  World world(64, 32);
  KvFollower follower;
  world.open(follower);
  world.grow_chain(1, 10);
  world.feed.publish(world.cache);
  while (!(follower.read() && follower.whole())) world.feed.publish(world.cache);
  follower.leave();
  world.grow_chain(2, 10);
  world.feed.publish(world.cache);
  follower.forget_start();
  world.open(follower, KvEventPlace{follower.next(), 42});
  world.feed.publish(world.cache);
  follower.read_all();
  EXPECT_TRUE(follower.start()->resumed);
  world.expect_equal(follower);

  // Beyond the ring, from the future, and of another process: a snapshot.
  for (const KvEventPlace from : {KvEventPlace{1}, KvEventPlace{1000000}, KvEventPlace{UINT64_MAX},
                                  KvEventPlace{follower.next(), 43}}) {
    world.grow_chain(3 + static_cast<int32_t>(from.sequence % 7), 40);
    world.feed.publish(world.cache);
    KvFollower other(/*parents_first=*/false);
    world.open(other, from);
    while (!(other.read() && other.whole())) world.feed.publish(world.cache);
    EXPECT_FALSE(other.start()->resumed);
    world.expect_equal(other);
  }
}

TEST(KvEvents, tell_a_slow_reader_that_it_has_lost) {
  World world(1000, 32);
  KvFollower slow, other;
  world.open(slow);
  world.feed.publish(world.cache);
  slow.read_all();
  world.grow_chain(1, 32);
  world.feed.publish(world.cache);
  slow.read();
  EXPECT_EQ(slow.state, State::kOpen);
  world.grow_chain(2, 33);
  world.feed.publish(world.cache);
  slow.read();
  EXPECT_EQ(slow.state, State::kLost);
  world.open(other);
  while (!(other.read() && other.whole())) world.feed.publish(world.cache);
  world.expect_equal(other);
}

TEST(KvEvents, lose_a_reader_that_is_slow_within_its_snapshot) {
  World world(9000, 64);
  for (int32_t chain = 0; chain < 90; ++chain) world.grow_chain(chain, 100);
  KvFollower slow;
  world.open(slow);
  while (world.feed.takes_snapshot()) world.feed.publish(world.cache);
  slow.read();
  EXPECT_EQ(slow.held, 256);
  world.grow_chain(1000, 40);
  world.feed.publish(world.cache);
  slow.read();
  EXPECT_EQ(slow.state, State::kLost);
}

TEST(KvEvents, have_room_for_so_many_readers) {
  World world(64);
  std::vector<std::unique_ptr<KvFollower>> followers;
  for (int i = 0; i < KvEventFeed::kMaxReaders; ++i)
    world.open(*followers.emplace_back(std::make_unique<KvFollower>()));
  const auto refused = world.feed.open(std::nullopt, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
  followers.pop_back();
  KvFollower another;
  world.open(another);
  world.grow_chain(1, 20);
  world.feed.publish(world.cache);
  world.feed.publish(world.cache);
  for (const auto& follower : followers) {
    follower->read_all();
    world.expect_equal(*follower);
  }
}

TEST(KvEvents, end_for_all_when_the_engine_does) {
  KvFollower early, late;
  {
    World world(64);
    world.open(early);
    world.feed.finished({"x", 3}, FinishReason::kStop, 7);
    world.feed.publish(world.cache);
    world.feed.close();
    EXPECT_FALSE(world.feed.open(std::nullopt, nullptr).ok());
  }
  early.read_all();  // what was told before, then the end
  EXPECT_EQ(early.state, State::kClosed);
  EXPECT_EQ(early.life("x").last.generated, 7);
  EXPECT_EQ(early.life("x").last.choice, 3);
}

TEST(KvEvents, tell_the_load_at_most_ten_times_a_second_and_after_the_last_change) {
  World world(64);
  KvFollower follower;
  world.open(follower);
  auto now = Clock::time_point(std::chrono::hours(1));
  int loads = 0;
  const auto pass = [&](bool moved) {
    if (!world.feed.load_due(now, moved)) return;
    world.feed.load({.running = ++loads}, now);
    world.feed.publish(world.cache);
  };
  pass(false);
  EXPECT_EQ(loads, 1);  // for the new reader
  for (int ms = 0; ms < 1000; ms += 10, now += std::chrono::milliseconds(10)) pass(true);
  EXPECT_EQ(loads, 10);
  EXPECT_TRUE(world.feed.load_waits());
  now += KvEventFeed::kLoadInterval;
  pass(false);
  EXPECT_EQ(loads, 11);
  EXPECT_FALSE(world.feed.load_waits());
  now += std::chrono::hours(1);
  pass(false);
  EXPECT_EQ(loads, 11);
  follower.read_all();
  EXPECT_EQ(follower.loads.back().running, 11);
}

// ---- with the engine's own thread ----

class Bell : public KvEventListener {
 public:
  void events_ready() noexcept override {
    {
      std::lock_guard lock(mutex_);
      rung_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
};

// Reads until the end; what it saw.
struct Seen {
  std::map<uint64_t, uint64_t> blocks;
  std::map<std::string, std::vector<KvEvent::Kind>> lives;
  std::vector<KvLoad> loads;
  bool whole = false;

  void read(KvEventReader& reader, Bell& bell) {
    std::vector<KvEvent> events;
    for (;;) {
      events.clear();
      const State state = reader.read(events);
      for (const KvEvent& event : events) take(event);
      if (state == State::kClosed) return;
      ASSERT_EQ(state, State::kOpen);
      if (events.empty()) bell.wait();
    }
  }
  void take(const KvEvent& event) {
    using Kind = KvEvent::Kind;
    if (event.kind == Kind::kStored || event.kind == Kind::kHeld)
      blocks[event.hash] = event.parent;
    else if (event.kind == Kind::kEvicted)
      blocks.erase(event.hash);
    else if (event.kind == Kind::kHeldAll)
      whole = true;
    else if (event.kind == Kind::kLoad)
      loads.push_back(event.load);
    else
      lives[std::string(event.name())].push_back(event.kind);
  }
};

TEST(KvEvents, reach_several_readers_on_their_threads) {
  auto runner = testing::small_runner();
  auto engine = testing::start_engine(runner, testing::options_for(runner));
  auto sink = std::make_shared<testing::GatheringSink>();
  std::mt19937_64 random(5);
  constexpr int kReaders = 3, kRequests = 60;
  std::vector<Seen> seen(kReaders);
  std::vector<RequestHandle> handles;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kRequests; ++i) {
    if (i % 15 == 0 && i / 15 < kReaders) {  // the first before any request, the others among them
      auto bell = std::make_shared<Bell>();
      auto reader = engine->read_events(std::nullopt, bell);
      ASSERT_TRUE(reader.ok());
      threads.emplace_back([bell, reader = std::move(reader).value(),
                            &mine = seen[static_cast<size_t>(i / 15)]] { mine.read(*reader, *bell); });
    }
    auto request =
        testing::make_request(sink, static_cast<uint64_t>(i), testing::random_tokens(random, 200, 1000), 20);
    request.name = "r" + std::to_string(i);
    handles.push_back(engine->submit(std::move(request)).value());
    if (i % 15 == 14) sink->wait_for_finals(i + 1 - 5);
  }
  sink->wait_for_finals(kRequests);
  testing::wait_until_idle(*engine);
  engine->begin_drain();
  threads.clear();
  for (const Seen& one : seen) {
    EXPECT_TRUE(one.whole);
    EXPECT_EQ(one.blocks, seen.front().blocks);
  }
  EXPECT_LE(seen.front().blocks.size(), 256U);
  EXPECT_GT(seen.front().blocks.size(), 100U);
  EXPECT_FALSE(seen.front().loads.empty());
  EXPECT_EQ(seen.back().lives.at("r59").size(), 3U);
}

TEST(KvEvents, tell_an_idle_engine_s_load) {
  auto runner = testing::small_runner();
  auto engine = testing::start_engine(runner, testing::options_for(runner));
  auto bell = std::make_shared<Bell>();
  auto reader = engine->read_events(std::nullopt, bell);
  ASSERT_TRUE(reader.ok());
  auto sink = std::make_shared<testing::GatheringSink>();
  std::mt19937_64 random(5);
  const auto handle =
      engine->submit(testing::make_request(sink, 1, testing::random_tokens(random, 100, 1000), 5));
  ASSERT_TRUE(handle.ok());
  sink->wait_for_finals(1);
  Seen seen;
  std::vector<KvEvent> events;
  const auto idle_is_told = [&] {
    return !seen.loads.empty() && seen.loads.back().running == 0 && seen.loads.back().kv_blocks_cached > 0;
  };
  while (!idle_is_told()) {
    bell->wait();
    events.clear();
    ASSERT_EQ((*reader)->read(events), State::kOpen);
    for (const KvEvent& event : events) seen.take(event);
  }
  EXPECT_EQ(seen.loads.back().kv_blocks_total, 256);
  EXPECT_EQ(seen.loads.back().waiting_uncached_tokens, 0);
}

}  // namespace
}  // namespace sluice
