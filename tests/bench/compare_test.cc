#include "bench/serve/compare.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>

#include "bench/serve/random.h"
#include "bench/serve/result_text.h"

namespace sluice::bench {
namespace {

// A run whose first tokens take `ttft_ms`, give or take a third.
RunFigures run_with(uint64_t seed, double ttft_ms, size_t failures = 0) {
  Random random(seed);
  Point point{.label = "10 req/s", .rate_rps = 10};
  RunResult run;
  for (size_t i = 0; i < 600; ++i) {
    RequestRecord record;
    record.outcome = i < failures ? Outcome::kTimeout : Outcome::kDone;
    record.planned_s = record.sent_s = static_cast<double>(i) * 0.1;
    record.first_s = record.last_s = record.planned_s + ttft_ms / 1e3 * (1 + random.normal() / 3);
    record.end_s = record.first_s + 0.2;
    record.output_tokens = record.events = 1;
    run.records.push_back(record);
    run.duration_s = std::max(run.duration_s, record.end_s);
  }
  point.runs.push_back(std::move(run));
  point.summary = summarize(point.runs, {});
  Experiment experiment;
  experiment.points.push_back(std::move(point));
  Plan plan;
  plan.percentiles = {50, 99};
  const std::string json = json_of(experiment, {}, plan, {.model = "m"});
  auto runs = parse_result_file(json, "r.json");
  EXPECT_TRUE(runs.ok()) << (runs.ok() ? "" : runs.error().message);
  return runs->at(0);
}

const Change& change_of(const std::vector<Change>& changes, const std::string& name) {
  const auto found = std::ranges::find(changes, name, &Change::name);
  EXPECT_NE(found, changes.end()) << name;
  return *found;
}

TEST(Compare, tells_a_change_from_chance) {
  const auto changes = compare_runs(run_with(1, 100), run_with(2, 115), {});
  EXPECT_EQ(change_of(changes, "mean_ttft_ms").verdict, Verdict::kWorse);
  const auto back = compare_runs(run_with(1, 115), run_with(2, 100), {});
  EXPECT_EQ(change_of(back, "mean_ttft_ms").verdict, Verdict::kBetter);
}

TEST(Compare, calls_chance_by_its_name) {
  size_t alarms = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const auto changes = compare_runs(run_with(2 * seed, 100), run_with(2 * seed + 1, 100), {});
    alarms += std::ranges::count(changes, Verdict::kWorse, &Change::verdict) > 0 ? 1 : 0;
  }
  EXPECT_LE(alarms, 3u);
}

TEST(Compare, counts_failures) {
  EXPECT_EQ(change_of(compare_runs(run_with(1, 100), run_with(1, 100, 30), {}), "failed_share").verdict,
            Verdict::kWorse);
  EXPECT_EQ(change_of(compare_runs(run_with(1, 100), run_with(1, 100, 1), {}), "failed_share").verdict,
            Verdict::kSame);
}

TEST(Compare, takes_other_tools_files_at_their_word) {
  const auto was =
      parse_result_file(R"({"request_throughput": 10.0, "mean_ttft_ms": 100, "completed": 5})", "v");
  const auto is =
      parse_result_file(R"({"request_throughput": 10.5, "mean_ttft_ms": 120, "completed": 5})", "v");
  ASSERT_TRUE(was.ok() && is.ok());
  const auto changes = compare_runs((*was)[0], (*is)[0], {});
  EXPECT_EQ(change_of(changes, "mean_ttft_ms").verdict, Verdict::kWorse);  // 20% and no noise known
  EXPECT_EQ(change_of(changes, "request_throughput").verdict, Verdict::kSame);
  EXPECT_TRUE(std::isnan(change_of(changes, "mean_ttft_ms").noise));
}

TEST(Compare, pairs_points_by_what_was_varied) {
  RunFigures a = run_with(1, 100), b = run_with(2, 100), c = run_with(3, 300);
  b.point = "20 req/s";
  c.point = "20 req/s";
  const auto comparison = compare_files({a, b}, {c}, {});
  ASSERT_TRUE(comparison.ok());
  EXPECT_EQ(comparison->pairs.size(), 1u);
  EXPECT_EQ(comparison->unmatched.size(), 1u);
  EXPECT_TRUE(comparison->any_worse());
  EXPECT_NE(table_of(*comparison).find("worse"), std::string::npos);
  c.point = "else";
  EXPECT_FALSE(compare_files({a, b}, {c}, {}).ok());
}

TEST(ResultFile, what_is_none_is_said) {
  for (const char* text : {"", "[]", "{", "{}", R"({"points": []})", R"({"points": [3]})", R"({"a": "b"})"}) {
    const auto runs = parse_result_file(text, "f.json");
    ASSERT_FALSE(runs.ok()) << text;
    EXPECT_TRUE(runs.error().message.starts_with("f.json ")) << runs.error().message;
  }
}

}  // namespace
}  // namespace sluice::bench
