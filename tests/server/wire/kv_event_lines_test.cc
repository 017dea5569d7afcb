#include "server/wire/kv_event_lines.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace sluice {
namespace {

using nlohmann::json;
using Kind = KvEvent::Kind;

std::vector<json> lines_of(const std::vector<KvEvent>& events) {
  std::string text;
  append_lines(text, events);
  std::istringstream in(text);
  std::vector<json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

KvEvent event_of(Kind kind, const std::string& name = "") {
  KvEvent event;
  event.kind = kind;
  event.sequence = 9;
  event.hash = 0xab;
  event.parent = UINT64_MAX;
  event.name_size = static_cast<uint8_t>(name.size());
  std::copy(name.begin(), name.end(), event.name_bytes.begin());
  return event;
}

TEST(KvEventLines, write_each_event_as_an_object) {
  KvEvent admitted = event_of(Kind::kAdmitted, std::string(128, 'x'));
  admitted.choice = 2;
  admitted.prompt_tokens = 100;
  admitted.cached_tokens = 32;
  admitted.prompt_blocks = 6;
  KvEvent finished = event_of(Kind::kFinished, "a");
  finished.reason = FinishReason::kCancelled;
  finished.generated = 7;
  KvEvent load = event_of(Kind::kLoad);
  load.load.waiting_uncached_tokens = int64_t{1} << 40;
  load.load.decode_step_s = 0.0065;
  const auto lines = lines_of({event_of(Kind::kStored), event_of(Kind::kEvicted), admitted,
                               event_of(Kind::kPrefilled, "a"), finished, load, event_of(Kind::kHeldAll)});
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0], json::parse(R"({"seq": 9, "event": "stored", "hash": "00000000000000ab",
                                      "parent": "ffffffffffffffff"})"));
  EXPECT_EQ(lines[1], json::parse(R"({"seq": 9, "event": "evicted", "hash": "00000000000000ab"})"));
  EXPECT_EQ(lines[2]["request"], std::string(128, 'x'));
  EXPECT_EQ(lines[2]["choice"], 2);
  EXPECT_EQ(lines[2]["prompt_tokens"], 100);
  EXPECT_EQ(lines[2]["cached_tokens"], 32);
  EXPECT_EQ(lines[2]["blocks"], 6);
  EXPECT_EQ(lines[3], json::parse(R"({"seq": 9, "event": "prefilled", "request": "a", "choice": 0})"));
  EXPECT_EQ(lines[4], json::parse(R"({"seq": 9, "event": "finished", "request": "a", "choice": 0,
                                      "reason": "cancelled", "generated": 7})"));
  EXPECT_EQ(lines[5]["waiting_uncached_tokens"], int64_t{1} << 40);
  EXPECT_EQ(lines[5]["decode_step_s"], 0.0065);
  EXPECT_EQ(lines[5].size(), 11U);
  EXPECT_EQ(lines[6], json::parse(R"({"event": "snapshot_end", "settled": 9})"));
}

TEST(KvEventLines, put_the_blocks_of_a_snapshot_together) {
  std::vector<KvEvent> events(300, event_of(Kind::kHeld));
  for (size_t i = 0; i < events.size(); ++i) events[i].hash = i;
  events.push_back(event_of(Kind::kHeldAll));
  events.push_back(event_of(Kind::kStored));
  const auto lines = lines_of(events);
  ASSERT_EQ(lines.size(), 5U);
  size_t block = 0;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LE(lines[i]["blocks"].size(), 2 * kLineBlocks);
    for (size_t j = 0; j < lines[i]["blocks"].size(); j += 2)
      EXPECT_EQ(std::stoull(lines[i]["blocks"][j].get<std::string>(), nullptr, 16), block++);
  }
  EXPECT_EQ(block, 300U);
}

TEST(KvEventLines, begin_and_end) {
  std::string text;
  append_hello(text, {{.epoch = 1, .next = 5, .resumed = true}, 16, 8, {"a\"b", "c"}});
  EXPECT_EQ(json::parse(text),
            json::parse(R"({"event": "hello", "epoch": "0000000000000001", "next": 5, "resumed": true,
                            "block_tokens": 16, "max_num_seqs": 8, "hash": "sluice-1",
                            "models": ["a\"b", "c"]})"));
  text.clear();
  append_heartbeat(text, 6);
  EXPECT_EQ(json::parse(text), json::parse(R"({"event": "heartbeat", "next": 6})"));
  text.clear();
  append_ending(text, KvEventReader::State::kLost);
  EXPECT_EQ(text, "{\"event\":\"lost\"}\n");
  text.clear();
  append_ending(text, KvEventReader::State::kClosed);
  EXPECT_EQ(text, "{\"event\":\"closing\"}\n");
}

}  // namespace
}  // namespace sluice
