#include "bench/serve/trace_files.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::bench {
namespace {

template <class Parsed>
void expect_fault(const Parsed& parsed, const std::string& words) {
  ASSERT_FALSE(parsed.ok()) << words;
  EXPECT_NE(parsed.error().message.find(words), std::string::npos) << parsed.error().message;
}

TEST(Mooncake, rows_come_by_time_and_begin_at_0) {
  const auto trace = parse_mooncake(
      "{\"timestamp\": 7000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [3, 4]}\r\n\n"
      "{\"hash_ids\": [3], \"output_length\": 0, \"input_length\": 512, \"timestamp\": 5000, \"other\": {}}",
      "t.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->rows.size(), 2u);
  EXPECT_DOUBLE_EQ(trace->rows[0].at_s, 0);
  EXPECT_DOUBLE_EQ(trace->rows[1].at_s, 2);
  EXPECT_EQ(trace->rows[0].output_tokens, 1u);  // an answer has at least one
  EXPECT_EQ(trace->rows[1].input_tokens, 600u);
  const auto hashes = trace->hashes(trace->rows[1]);
  EXPECT_EQ(std::vector<uint64_t>(hashes.begin(), hashes.end()), (std::vector<uint64_t>{3, 4}));
}

TEST(Mooncake, names_the_line_that_is_wrong) {
  const std::string good = "{\"timestamp\":0,\"input_length\":5,\"output_length\":3,\"hash_ids\":[1]}\n";
  const std::pair<const char*, const char*> faults[] = {
      {"[1]", "it is not a JSON object"},
      {"{\"timestamp\":0,\"input_length\":5", "broken off or malformed"},
      {"{\"timestamp\":\"x\",\"input_length\":5,\"output_length\":3}", "timestamp"},
      {"{\"timestamp\":-1,\"input_length\":5,\"output_length\":3}", "timestamp"},
      {"{\"timestamp\":0,\"input_length\":-5,\"output_length\":3}", "input_length"},
      {"{\"timestamp\":0,\"input_length\":1e30,\"output_length\":3}", "input_length"},
      {"{\"timestamp\":0,\"input_length\":5,\"output_length\":0.5}", "output_length"},
      {"{\"timestamp\":0,\"input_length\":5,\"output_length\":3,\"hash_ids\":[1.5]}", "hash_ids"},
      {"{\"timestamp\":0,\"input_length\":5,\"output_length\":3,\"hash_ids\":7}", "hash_ids"},
      {"{\"timestamp\":0,\"input_length\":5,\"output_length\":3,\"hash_ids\":[1,2]}", "more hash_ids"},
  };
  for (const auto& [line, words] : faults) {
    const auto trace = parse_mooncake(good + "\n" + line + "\n", "t.jsonl");
    expect_fault(trace, "t.jsonl line 3: ");
    expect_fault(trace, words);
  }
  expect_fault(parse_mooncake("\n", "t.jsonl"), "has no requests");
}

TEST(Azure, dates_become_seconds) {
  const auto trace = parse_azure(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
      "2023-11-16 18:15:50.9951690,396,109\n2023-11-17 00:00:00,1,0\n",
      "a.csv");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->rows.size(), 3u);
  EXPECT_NEAR(trace->rows[1].at_s, 4.314579, 1e-6);
  EXPECT_NEAR(trace->rows[2].at_s, 20653.31941, 1e-5);
  EXPECT_EQ(trace->rows[0].input_tokens, 374u);
  EXPECT_EQ(trace->rows[1].output_tokens, 109u);
}

TEST(BurstGpt, leaves_out_what_failed) {
  const auto trace = parse_burstgpt(
      "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,"
      "Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n118,GPT-4,417,276,693,API log\n",
      "b.csv");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->rows.size(), 2u);
  EXPECT_DOUBLE_EQ(trace->rows[1].at_s, 113);
  EXPECT_EQ(trace->rows[1].output_tokens, 276u);
}

TEST(Csv, names_the_line_and_the_column) {
  expect_fault(parse_azure("", "a.csv"), "a.csv is empty");
  expect_fault(parse_azure("TIMESTAMP,ContextTokens\n1,2\n", "a.csv"), "'GeneratedTokens'");
  const std::string head = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  expect_fault(parse_azure(head, "a.csv"), "has no requests");
  expect_fault(parse_azure(head + "1,2\n", "a.csv"), "line 2: it has 2 columns");
  expect_fault(parse_azure(head + "1,2,3\n1,x,3\n", "a.csv"), "line 3: 'x' is not a number of tokens");
  expect_fault(parse_azure(head + "noon,2,3\n", "a.csv"), "line 2: 'noon' is neither");
  expect_fault(parse_azure(head + "2023-02-30 18:15:46,2,3\n", "a.csv"), "line 2: ");
  expect_fault(parse_azure(head + "1,2,99999999999\n", "a.csv"), "line 2: ");
}

TEST(ShareGpt, takes_questions_with_their_answers) {
  const auto all = parse_sharegpt(
      R"([{"id": "a", "conversations": [{"from": "human", "value": "Hi \"you\""},
          {"from": "gpt", "value": "Hello"},
          {"from": "human", "value": "Again"}, {"from": "gpt", "value": "Yes"}]},
          {"conversations": [{"from": "gpt", "value": "I begin"}]},
          {"conversations": []}, {"id": "no turns"}])",
      "s.json");
  ASSERT_TRUE(all.ok()) << all.error().message;
  ASSERT_EQ(all->size(), 1u);
  ASSERT_EQ((*all)[0].size(), 2u);
  EXPECT_EQ((*all)[0][0].ask, "Hi \"you\"");
  EXPECT_EQ((*all)[0][1].answer, "Yes");
}

TEST(ShareGpt, names_what_is_wrong) {
  expect_fault(parse_sharegpt("{}", "s.json"), "not a JSON array");
  expect_fault(parse_sharegpt("[]", "s.json"), "has no conversation");
  expect_fault(parse_sharegpt("[1]", "s.json"), "conversation 1 is not an object");
  expect_fault(parse_sharegpt("[\n\n{\"conversations\": 5}]", "s.json"),
               "s.json line 3: conversation 1 has no array");
  expect_fault(parse_sharegpt("[{\"conversations\": [7]}]", "s.json"), "has a turn that is not an object");
  expect_fault(parse_sharegpt("[{\"conversations\": [", "s.json"), "broken off");
}

TEST(Custom, reads_prompts) {
  const auto all =
      parse_custom("{\"prompt\": \"Hi\"}\n{\"prompt\": \"Ho\", \"output_tokens\": 9}\n", "c.jsonl");
  ASSERT_TRUE(all.ok()) << all.error().message;
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[1][0].output_tokens, 9u);
  expect_fault(parse_custom("{\"prompt\": \"Hi\"}\n{\"text\": \"Ho\"}\n", "c.jsonl"),
               "c.jsonl line 2: prompt");
  expect_fault(parse_custom("{\"prompt\": 5}\n", "c.jsonl"), "line 1: prompt");
  expect_fault(parse_custom("{\"prompt\": \"x\", \"output_tokens\": -1}\n", "c.jsonl"), "output_tokens");
}

}  // namespace
}  // namespace sluice::bench
