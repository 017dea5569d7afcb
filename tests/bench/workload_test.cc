#include "bench/serve/workload.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <fstream>
#include <map>
#include <set>

#include "tests/support/temp_folder.h"

namespace sluice::bench {
namespace {

Workload made(std::vector<PartSpec> parts, uint64_t seed = 1) {
  auto workload = Workload::load(std::move(parts), seed);
  EXPECT_TRUE(workload.ok()) << (workload.ok() ? "" : workload.error().message);
  return std::move(workload).value();
}

TEST(Workload, a_session_is_a_function_of_seed_and_number) {
  const Workload workload = made({{.random_input_len = 100, .random_range_ratio = 0.5}});
  std::set<uint64_t> texts;
  for (uint64_t i = 0; i < 1000; ++i) {
    const Session session = workload.session(i);
    ASSERT_EQ(session.turns.size(), 1u);
    const Turn& turn = session.turns[0];
    EXPECT_GE(turn.pieces[0].tokens, 50u);
    EXPECT_LE(turn.pieces[0].tokens, 150u);
    EXPECT_EQ(turn.pieces, workload.session(i).turns[0].pieces);
    texts.insert(turn.pieces[0].seed);
  }
  EXPECT_EQ(texts.size(), 1000u);
  EXPECT_NE(workload.with_seed(2).session(0).turns[0].pieces, workload.session(0).turns[0].pieces);
  EXPECT_TRUE(workload.shares_nothing());
}

TEST(Workload, prefixes_repeat_and_suffixes_do_not) {
  const Workload workload =
      made({{.dataset_name = "prefix_repetition", .prefix_repetition_num_prefixes = 7}});
  std::map<uint64_t, int> prefixes;
  std::set<uint64_t> suffixes;
  for (uint64_t i = 0; i < 700; ++i) {
    const auto pieces = workload.session(i).turns[0].pieces;
    ASSERT_EQ(pieces.size(), 2u);
    ++prefixes[pieces[0].seed];
    suffixes.insert(pieces[1].seed);
  }
  EXPECT_EQ(prefixes.size(), 7u);
  EXPECT_EQ(suffixes.size(), 700u);
  EXPECT_FALSE(workload.shares_nothing());
}

TEST(Workload, a_tree_shares_along_its_branches) {
  const Workload workload =
      made({{.dataset_name = "prefix_tree", .tree_branching = "2,3", .tree_lens = "64,32"}});
  std::map<uint64_t, std::set<uint64_t>> children;
  for (uint64_t i = 0; i < 500; ++i) {
    const auto pieces = workload.session(i).turns[0].pieces;
    ASSERT_EQ(pieces.size(), 3u);
    EXPECT_EQ(pieces[0].tokens, 64u);
    EXPECT_EQ(pieces[1].tokens, 32u);
    children[pieces[0].seed].insert(pieces[1].seed);
  }
  ASSERT_EQ(children.size(), 2u);
  for (const auto& [node, its] : children) EXPECT_EQ(its.size(), 3u);
}

TEST(Workload, dialogues_think_between_their_turns) {
  const Workload workload =
      made({{.dataset_name = "sessions", .random_prefix_len = 40, .session_turns = 5, .session_think_s = 2}});
  double thought = 0;
  for (uint64_t i = 0; i < 2000; ++i) {
    const Session session = workload.session(i);
    ASSERT_EQ(session.turns.size(), 5u);
    EXPECT_EQ(session.turns[0].think_s, 0);
    EXPECT_EQ(session.turns[0].pieces.size(), 2u);
    EXPECT_EQ(session.turns[1].pieces.size(), 1u);
    for (size_t turn = 1; turn < 5; ++turn) thought += session.turns[turn].think_s;
  }
  EXPECT_NEAR(thought / 8000, 2, 0.15);
}

TEST(Workload, parts_come_by_their_shares) {
  const Workload workload =
      made({{.share = 3, .tenant = "a"}, {.share = 1, .cancel_share = 0.5, .tenant = "b"}});
  size_t second = 0, cancels = 0;
  for (uint64_t i = 0; i < 8000; ++i) {
    const Session session = workload.session(i);
    second += session.part;
    if (session.part == 0) {
      EXPECT_EQ(session.turns[0].cancel_after, 0u);
    }
    cancels += session.turns[0].cancel_after > 0 ? 1 : 0;
    EXPECT_LE(session.turns[0].cancel_after, session.turns[0].output_tokens);
  }
  EXPECT_NEAR(static_cast<double>(second), 2000, 200);
  EXPECT_NEAR(static_cast<double>(cancels), 1000, 150);
}

TEST(Workload, conversations_come_each_once_a_round) {
  TempFolder folder;
  std::string text = "[";
  for (int i = 0; i < 37; ++i)
    text += std::string(i > 0 ? "," : "") + R"({"conversations": [{"from": "human", "value": "ask )" +
            std::to_string(i) + R"("}, {"from": "gpt", "value": "12345678"}]})";
  std::ofstream(folder / "s.json") << text << "]";
  Workload workload = made({{.dataset_name = "sharegpt", .dataset_path = folder / "s.json"}});
  workload.set_bytes_per_token(2);
  std::vector<std::string> first_round;
  for (uint64_t round = 0; round < 3; ++round) {
    std::set<std::string> asked;
    for (uint64_t i = 0; i < 37; ++i) {
      const Turn turn = workload.session(round * 37 + i).turns[0];
      EXPECT_EQ(turn.output_tokens, 4u);
      asked.insert(turn.text);
    }
    EXPECT_EQ(asked.size(), 37u);
  }
}

TEST(Workload, a_trace_keeps_its_times_and_shares_its_blocks) {
  TempFolder folder;
  const std::string path = folder / "t.jsonl";
  std::ofstream(path)
      << "{\"timestamp\":0,\"input_length\":1100,\"output_length\":3,\"hash_ids\":[1,2,3]}\n"
         "{\"timestamp\":4000,\"input_length\":1030,\"output_length\":4,\"hash_ids\":[1,2,9]}\n";
  const Workload workload = made({{.dataset_name = "mooncake", .dataset_path = path, .trace_speed = 2}});
  EXPECT_EQ(workload.size(), 2u);
  EXPECT_TRUE(workload.has_times());
  const Session first = workload.session(0), second = workload.session(1);
  EXPECT_DOUBLE_EQ(*second.at_s, 2);
  ASSERT_EQ(first.turns[0].pieces.size(), 3u);
  EXPECT_EQ(first.turns[0].pieces[0], second.turns[0].pieces[0]);
  EXPECT_EQ(first.turns[0].pieces[1], second.turns[0].pieces[1]);
  EXPECT_NE(first.turns[0].pieces[2].seed, second.turns[0].pieces[2].seed);
  EXPECT_EQ(first.turns[0].pieces[2].tokens, 1100u - 1024);
}

TEST(Workload, wrong_fields_are_named) {
  const std::pair<PartSpec, const char*> faults[] = {
      {{.dataset_name = "nonsense"}, "dataset_name"},
      {{.dataset_name = "mooncake"}, "dataset_path is missing"},
      {{.random_input_len = 0}, "random_input_len"},
      {{.random_range_ratio = 1}, "random_range_ratio"},
      {{.tree_branching = "4,x"}, "tree_branching"},
      {{.tree_branching = "4"}, "tree_lens"},
      {{.session_turns = 0}, "session_turns"},
      {{.cancel_share = 2}, "cancel_share"},
      {{.tenant = "a\r\nb"}, "tenant"},
  };
  for (const auto& [spec, words] : faults) {
    const auto workload = Workload::load({spec}, 1);
    ASSERT_FALSE(workload.ok()) << words;
    EXPECT_NE(workload.error().message.find(words), std::string::npos) << workload.error().message;
  }
  EXPECT_FALSE(Workload::load({}, 1).ok());
}

}  // namespace
}  // namespace sluice::bench
