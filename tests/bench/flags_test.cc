#include "bench/serve/flags.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>
#include <fstream>

#include "bench/serve/experiment.h"
#include "tests/support/temp_folder.h"

namespace sluice::bench {
namespace {

Result<Flags> parsed(std::vector<std::string> words) {
  words.insert(words.begin(), "bench-serve");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int exit_code = 0;
  return parse_flags(static_cast<int>(arguments.size()), arguments.data(), exit_code);
}

Result<Plan> planned(const std::vector<std::string>& words) {
  SLUICE_ASSIGN(const Flags flags, parsed(words));
  SLUICE_ASSIGN(const Workload workload, Workload::load({flags.part}, 1));
  return make_plan(flags, workload);
}

TEST(WorkloadFile, says_what_flags_say_and_the_command_line_says_more) {
  TempFolder folder;
  std::ofstream(folder / "w.json")
      << R"({"name": "mixed", "request_rate": 4, "seeds": 3, "random_input_len": 77,
      "ignore_eos": true, "extra_body": {"top_k": 5},
      "parts": [{"share": 3, "tenant": "a"}, {"random_input_len": 9, "dataset_name": "sessions"}]})";
  const auto flags = parsed({"--workload", folder / "w.json", "--seeds", "2", "--random-output-len", "5"});
  ASSERT_TRUE(flags.ok()) << flags.error().message;
  EXPECT_EQ(flags->name, "mixed");
  EXPECT_EQ(flags->load.request_rate, "4");
  EXPECT_EQ(flags->load.seeds, 2);
  EXPECT_TRUE(flags->load.ignore_eos);
  ASSERT_EQ(flags->parts.size(), 2u);
  EXPECT_EQ(flags->parts[0].share, 3);
  EXPECT_EQ(flags->parts[0].tenant, "a");
  EXPECT_EQ(flags->parts[0].random_input_len, 77);
  EXPECT_EQ(flags->parts[1].random_input_len, 9);
  EXPECT_EQ(flags->parts[1].extra_body, R"({"top_k":5})");
  EXPECT_EQ(flags->part.random_output_len, 5);
}

TEST(WorkloadFile, names_the_field_that_is_wrong) {
  const std::pair<const char*, const char*> faults[] = {
      {"{\n\"seeds\": }", "w.json line 2"},
      {"[1]", "must be a JSON object"},
      {R"({"sedes": 1})", "'sedes' is no field"},
      {R"({"seeds": "x"})", "seeds must be a whole number"},
      {R"({"seeds": 1.5})", "seeds must be a whole number"},
      {R"({"ignore_eos": 1})", "ignore_eos must be true or false"},
      {R"({"parts": []})", "parts must be"},
      {R"({"parts": [{"share": "all"}]})", "parts[0].share must be a number"},
      {R"({"parts": [{}, {"rate": 1}]})", "parts[1].'rate' is no field"},
  };
  for (const auto& [text, words] : faults) {
    Flags flags;
    const Status status = apply_workload_file(text, "w.json", flags);
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_NE(status.error().message.find(words), std::string::npos) << status.error().message;
  }
}

TEST(Plan, knows_lists_and_ends) {
  const auto sweep = planned({"--request-rate", "1,2.5,inf", "--num-prompts", "50"});
  ASSERT_TRUE(sweep.ok()) << sweep.error().message;
  ASSERT_EQ(sweep->rates.size(), 3u);
  EXPECT_TRUE(std::isinf(sweep->rates[2]));
  EXPECT_EQ(sweep->session_count, 50u);
  EXPECT_EQ(planned({})->session_count, 1000u);
  EXPECT_GT(planned({"--duration", "60", "--request-rate", "9"})->session_count, 1'000'000u);
  EXPECT_EQ(planned({"--duration", "60"})->session_count, 1000u);  // all at once: not without a bound
  EXPECT_EQ(planned({"--max-concurrency", "4,8"})->concurrencies, (std::vector<size_t>{4, 8}));
  EXPECT_EQ(planned({"--rate-steps", "1:2,3:4"})->curve.size(), 2u);
}

TEST(Plan, refuses_what_makes_no_sense) {
  const std::vector<std::vector<std::string>> faults = {
      {"--request-rate", "1,2", "--max-concurrency", "3,4"},
      {"--request-rate", "0"},
      {"--request-rate", "-2"},
      {"--request-rate", "nan"},
      {"--max-concurrency", "0"},
      {"--rate-steps", "1:2", "--request-rate", "3"},
      {"--ramp-up-strategy", "linear"},
      {"--ramp-up-strategy", "sudden", "--ramp-up-end-rps", "5"},
      {"--percentile-metrics", "ttft,foo"},
      {"--metric-percentiles", "101"},
      {"--goodput", "ttft"},
      {"--goodput", "fun:5"},
      {"--find-rate"},
      {"--seeds", "0"},
      {"--duration", "5", "--warmup", "5"},
      {"--burstiness", "0"},
      {"--arrival", "weekly"},
  };
  for (const auto& words : faults) {
    const auto plan = planned(words);
    ASSERT_FALSE(plan.ok()) << words[0] << " " << words.back();
    EXPECT_NE(plan.error().message.find("--"), std::string::npos) << plan.error().message;
  }
}

TEST(MakeTarget, understands_urls_as_people_write_them) {
  const auto path_of = [](const std::vector<std::string>& words) {
    const auto flags = parsed(words);
    EXPECT_TRUE(flags.ok());
    const auto target = make_target(*flags, "");
    EXPECT_TRUE(target.ok());
    return target.ok() ? target->full_url() : "";
  };
  EXPECT_EQ(path_of({}), "http://127.0.0.1:8000/v1/completions");
  EXPECT_EQ(path_of({"--url", "http://a:1/"}), "http://a:1/v1/completions");
  EXPECT_EQ(path_of({"--url", "a:1"}), "http://a:1/v1/completions");
  EXPECT_EQ(path_of({"--base-url", "http://a/v1", "--backend", "openai-chat"}),
            "http://a/v1/chat/completions");
  EXPECT_EQ(path_of({"--base-url", "http://a/gate/v1/"}), "http://a/gate/v1/completions");
  EXPECT_FALSE(make_target(*parsed({"--url", "ftp://a"}), "").ok());
  EXPECT_FALSE(make_target(*parsed({"--endpoint", "/v1/images"}), "").ok());
  EXPECT_FALSE(make_target(*parsed({"--header", "nothing"}), "").ok());
  EXPECT_FALSE(make_target(*parsed({"--header", "A=b\r\nC: d"}), "").ok());
  const auto target = make_target(*parsed({"--header", "X-A: b"}), "key");
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->headers[0], (std::pair<std::string, std::string>("Authorization", "Bearer key")));
  EXPECT_EQ(target->headers[1], (std::pair<std::string, std::string>("X-A", "b")));
}

TEST(SearchRate, closes_in_on_the_edge) {
  for (const double edge : {0.013, 0.9, 1.0, 37.0, 4096.5}) {
    int trials = 0;
    const RateSearch found = search_rate(1, 0.05, [&](double rate) -> std::optional<bool> {
      ++trials;
      return rate <= edge;
    });
    ASSERT_TRUE(found.highest_kept && found.lowest_failed) << edge;
    EXPECT_LE(*found.highest_kept, edge);
    EXPECT_GT(*found.lowest_failed, edge);
    EXPECT_LE(*found.lowest_failed / *found.highest_kept, 1.05);
    EXPECT_LE(trials, 16) << edge;
  }
}

TEST(SearchRate, ends_where_nothing_is_kept_or_all_is_and_when_told) {
  const RateSearch none = search_rate(1, 0.05, [](double) -> std::optional<bool> { return false; });
  EXPECT_FALSE(none.highest_kept);
  EXPECT_TRUE(none.lowest_failed);
  const RateSearch all = search_rate(1, 0.05, [](double) -> std::optional<bool> { return true; });
  EXPECT_TRUE(all.highest_kept);
  EXPECT_FALSE(all.lowest_failed);
  const RateSearch told = search_rate(1, 0.05, [](double) -> std::optional<bool> { return std::nullopt; });
  EXPECT_FALSE(told.highest_kept || told.lowest_failed);
}

}  // namespace
}  // namespace sluice::bench
