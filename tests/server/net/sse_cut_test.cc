#include "server/net/sse_cut.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

TEST(SseCut, passes_whole_events_however_they_are_cut) {
  const std::string stream = "data: a\n\ndata: b\n: c\n\n\nevent: d\r\ndata: e\r\n\r\ndata: f\n\n";
  std::mt19937 random(1);
  for (int turn = 0; turn < 500; ++turn) {
    SseCut cut;
    std::string passed;
    for (size_t at = 0; at < stream.size();) {
      const size_t size = std::min<size_t>(1 + random() % 9, stream.size() - at);
      const std::string_view whole = cut.take(std::string_view(stream).substr(at, size));
      passed += whole;
      at += size;
      const bool between = passed.empty() || passed.ends_with("\n\n") || passed.ends_with("\n\r\n");
      ASSERT_TRUE(between) << passed;
      ASSERT_EQ(passed + std::string(cut.rest()), stream.substr(0, at));
    }
    EXPECT_EQ(passed, stream);
  }
}

TEST(SseCut, does_not_keep_an_event_without_an_end) {
  SseCut cut;
  const std::string piece(100'000, 'x');
  size_t passed = 0;
  for (int i = 0; i < 100; ++i) passed += cut.take(piece).size();
  EXPECT_GE(passed + SseCut::kMaxEventBytes + piece.size(), 100 * piece.size());
  EXPECT_LE(cut.rest().size(), SseCut::kMaxEventBytes);
}

std::vector<std::pair<std::string, std::string>> events_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> all;
  SseEvent event;
  std::string joined;
  while (next_event(text, event, joined)) all.emplace_back(event.name, event.data);
  return all;
}

TEST(NextEvent, tells_names_and_data) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(events_of("data: a\n\nevent: d\r\ndata:e\r\n\r\n"), (Pairs{{"", "a"}, {"d", "e"}}));
  EXPECT_EQ(events_of("data: a\ndata: b\nid: 7\ndata:\n\ndata: c\n\n"), (Pairs{{"", "a\nb\n"}, {"", "c"}}));
  EXPECT_EQ(events_of(": a comment\n\n\n\ndata: x: y\n\n"), (Pairs{{"", ""}, {"", "x: y"}}));
  EXPECT_EQ(events_of("data: without an end"), (Pairs{{"", "without an end"}}));
  EXPECT_EQ(events_of("data\n\n"), (Pairs{{"", ""}}));
  EXPECT_TRUE(events_of("\n\r\n\n").empty());
}

}  // namespace
}  // namespace sluice
