#include "router/io/kv_lines.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::router {
namespace {

using Kind = KvEvent::Kind;

struct Heard final : KvListener {
  void on_hello(const KvHello& given) override { hello = given; }
  void on_event(KvEvent& event, std::string_view request) override {
    events.push_back(event);
    requests.emplace_back(request);
  }
  KvHello hello;
  std::vector<KvEvent> events;
  std::vector<std::string> requests;
};

constexpr std::string_view kHello =
    R"({"event":"hello","epoch":"00000000000000ab","next":5,"resumed":false,"block_tokens":16,)"
    R"("max_num_seqs":8,"hash":"sluice-1","models":["m"]})"
    "\n";
constexpr std::string_view kStream =
    R"({"event":"snapshot","blocks":["0000000000000001","00000000000000ff",)"
    R"("0000000000000002","0000000000000001"]})"
    "\n"
    R"({"seq":5,"event":"stored","hash":"0000000000000003","parent":"0000000000000002"})"
    "\n"
    R"({"event":"snapshot_end","settled":6})"
    "\n"
    R"({"seq":6,"event":"admitted","request":"r-1","choice":0,"prompt_tokens":100,"cached_tokens":32,)"
    R"("blocks":6,"hash":"fedcba9876543210"})"
    "\n"
    R"({"seq":7,"event":"admitted","request":"r-1","choice":1,"prompt_tokens":100,"cached_tokens":96,)"
    R"("blocks":6,"hash":"fedcba9876543210"})"
    "\n"
    R"({"event":"heartbeat","next":8})"
    "\n"
    R"({"seq":8,"event":"prefilled","request":"r-1","choice":0})"
    "\n"
    R"({"seq":9,"event":"evicted","hash":"0000000000000003"})"
    "\n"
    R"({"seq":10,"event":"load","running":3,"waiting":2,"waiting_uncached_tokens":50,"prefilling_tokens":7,)"
    R"("kv_blocks_total":100,"kv_blocks_used":25,"kv_blocks_cached":60,"prefill_tokens_per_s":8000})"
    "\n"
    R"({"seq":11,"event":"something_new","hash":5})"
    "\n"
    R"({"seq":12,"event":"finished","request":"r-1","choice":0,"reason":"stop","generated":9})"
    "\n";

TEST(KvLines, tells_the_core_what_a_replica_says) {
  const std::string all = std::string(kHello) + std::string(kStream);
  std::mt19937 random(3);
  for (int turn = 0; turn < 200; ++turn) {
    Heard heard;
    KvLines lines(heard);
    for (size_t at = 0; at < all.size();) {
      const size_t size = turn == 0 ? all.size() : std::min<size_t>(1 + random() % 200, all.size() - at);
      ASSERT_EQ(lines.take(std::string_view(all).substr(at, size)), KvLines::State::kReading)
          << lines.fault();
      at += size;
    }
    EXPECT_EQ(heard.hello.epoch, 0xabU);
    EXPECT_EQ(heard.hello.block_tokens, 16U);
    EXPECT_EQ(heard.hello.max_num_seqs, 8U);
    EXPECT_EQ(heard.hello.hash, "sluice-1");
    std::vector<Kind> kinds;
    for (const KvEvent& event : heard.events) {
      kinds.push_back(event.kind);
      EXPECT_EQ(event.epoch, 0xabU);
    }
    EXPECT_EQ(kinds, (std::vector{Kind::kSnapshotBegin, Kind::kHeld, Kind::kHeld, Kind::kStored,
                                  Kind::kSnapshotEnd, Kind::kAdmitted, Kind::kAdmitted, Kind::kPrefilled,
                                  Kind::kEvicted, Kind::kLoad, Kind::kFinished, Kind::kFinished}));
    EXPECT_EQ(heard.events[0].sequence, 4U);
    EXPECT_EQ(heard.events[2].hash, 2U);
    EXPECT_EQ(heard.events[2].parent, 1U);
    EXPECT_EQ(heard.events[4].sequence, 6U);
    const KvEvent& admitted = heard.events[5];
    EXPECT_EQ(admitted.hash, 0xfedcba9876543210U);
    EXPECT_EQ(admitted.prompt_tokens, 100U);
    EXPECT_EQ(admitted.cached_tokens, 32U);
    EXPECT_EQ(heard.requests[5], "r-1");
    EXPECT_EQ(heard.requests[6], "");  // its second answer's
    EXPECT_EQ(heard.events[9].prefill_tokens, 57U);
    EXPECT_DOUBLE_EQ(heard.events[9].kv_usage, 0.25);
    EXPECT_EQ(heard.events[11].sequence, 12U);
  }
}

TEST(KvLines, resumes_where_it_was) {
  Heard heard;
  KvLines lines(heard);
  EXPECT_EQ(lines.take(R"({"event":"hello","epoch":"1","next":9,"resumed":true})"
                       "\n"),
            KvLines::State::kReading);
  ASSERT_EQ(heard.events.size(), 1U);
  EXPECT_EQ(heard.events[0].kind, Kind::kResumed);
  EXPECT_EQ(heard.events[0].sequence, 9U);
}

TEST(KvLines, knows_how_a_stream_ends) {
  Heard heard;
  KvLines lost(heard);
  EXPECT_EQ(lost.take(std::string(kHello) + "{\"event\":\"lost\"}\n{\"seq\":5,\"event\":\"prefilled\"}\n"),
            KvLines::State::kEnded);
  EXPECT_EQ(heard.events.size(), 1U);
  KvLines closing(heard);
  EXPECT_EQ(closing.take(std::string(kHello) + "{\"event\":\"closing\"}\n"), KvLines::State::kClosing);
}

TEST(KvLines, refuses_what_is_not_this_protocol) {
  for (const std::string& text :
       {std::string("<html>\n"), std::string("{\"seq\":1,\"event\":\"prefilled\"}\n"), std::string("[1]\n"),
        std::string(kHello) + std::string(kHello),
        std::string("{\"event\":\"hello\",\"epoch\":\"xyz\",\"next\":1}\n"),
        std::string("{\"event\":\"hello\",\"epoch\":\"1\",\"next\":0}\n"),
        std::string(kHello) + "{\"event\":\"snapshot\",\"blocks\":[\"1\"]}\n",
        std::string(kHello) + "{\"event\":\"snapshot\",\"blocks\":[1,2]}\n",
        std::string(kHello) + "{\"event\":\"snapshot\"}\n",
        std::string(kHello) + "{\"seq\":5,\"event\":\"stored\",\"hash\":\"1\"}\n",
        std::string(kHello) + "{\"seq\":5,\"event\":\"evicted\",\"hash\":12}\n",
        std::string(kHello) + "{\"seq\":5,\"event\":\"evicted\"\n",
        std::string(kHello) + std::string(KvLines::kMaxLineBytes + 1, 'x')}) {
    Heard heard;
    KvLines lines(heard);
    EXPECT_EQ(lines.take(text), KvLines::State::kBroken) << text.substr(0, 300);
    EXPECT_FALSE(lines.fault().empty());
  }
}

TEST(KvLines, survives_bytes_of_chance) {
  for (uint64_t seed = 0; seed < 5000; ++seed) {
    std::mt19937_64 random(seed);
    std::string text = std::string(kHello) + std::string(kStream);
    for (size_t i = 1 + random() % 8; i > 0; --i) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0)
        text[at] = static_cast<char>(random());
      else
        text.erase(at, 1 + random() % 40);
    }
    Heard heard;
    KvLines lines(heard);
    for (size_t at = 0; at < text.size(); at += 97) lines.take(std::string_view(text).substr(at, 97));
    EXPECT_LE(heard.events.size(), 14U) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sluice::router
