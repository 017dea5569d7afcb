#include "bench/serve/html_report.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "bench/serve/result_text.h"
#include "bench/serve/svg_plot.h"

namespace sluice::bench {
namespace {

TEST(Ticks, are_round_and_within) {
  EXPECT_EQ(linear_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(linear_ticks(0, 0.9, 3), (std::vector<double>{0, 0.5}));
  EXPECT_FALSE(std::signbit(linear_ticks(0, 10, 5)[0]));
  EXPECT_EQ(log_ticks(3, 60), (std::vector<double>{5, 10, 20, 50}));
  EXPECT_EQ(log_ticks(1, 1e5).size(), 6u);
  EXPECT_TRUE(linear_ticks(1, 1, 5).empty());
  EXPECT_TRUE(log_ticks(0, 5).empty());
  EXPECT_EQ(tick_text(15000), "15k");
  EXPECT_EQ(tick_text(2.5e6), "2.5M");
}

TEST(SvgPlot, draws_what_is_finite_and_nothing_of_nothing) {
  const double none = std::nan("");
  EXPECT_EQ(svg_plot({.title = "t"}, {}), "");
  EXPECT_EQ(svg_plot({.title = "t"},
                     {{.points = {{none, 1}, {1, none}, {1, std::numeric_limits<double>::infinity()}}}}),
            "");
  const std::string svg = svg_plot(
      {.title = "a <b>"}, {{.label = "\"x\" & y", .points = {{1, 2}, {2, none}, {3, 4}}, .has_dots = true}});
  EXPECT_NE(svg.find("a &lt;b&gt;"), std::string::npos);
  EXPECT_NE(svg.find("&quot;x&quot; &amp; y"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  const std::string one = svg_plot({.is_log_x = true}, {{.points = {{5, 100}}}});
  EXPECT_EQ(one.find("nan"), std::string::npos);
}

Experiment measured(std::vector<double> rates) {
  Experiment experiment;
  for (const double rate : rates) {
    Point point{
        .label = std::to_string(static_cast<int>(rate)) + " req/s", .rate_rps = rate, .sessions = 100};
    RunResult run;
    for (int i = 0; i < 100; ++i) {
      RequestRecord record;
      record.outcome = i == 50 ? Outcome::kHttpStatus : Outcome::kDone;
      record.status = i == 50 ? 503 : 200;
      record.fault = i == 50 ? "busy, \"very\" <b>" : "";
      record.planned_s = record.sent_s = i / rate;
      record.first_s = record.planned_s + 0.01 * (1 + i % 7);
      record.last_s = record.end_s = record.first_s + 0.05;
      record.gaps_ms = {25, 25};
      record.events = record.output_tokens = 3;
      record.has_usage = true;
      run.duration_s = std::max(run.duration_s, record.end_s);
      run.records.push_back(record);
    }
    point.runs.push_back(run);
    point.summary = summarize(point.runs, {});
    experiment.points.push_back(std::move(point));
  }
  return experiment;
}

Plan plan_for_tests() {
  Plan plan;
  plan.percentiles = {50, 99, 99.9};
  plan.metrics = {"ttft", "tpot", "itl", "e2el"};
  return plan;
}

TEST(ResultJson, has_the_names_that_others_read) {
  const auto json = nlohmann::json::parse(
      json_of(measured({10}), {.save_detailed = true}, plan_for_tests(), {.model = "m"}));
  for (const char* name : {"date",
                           "backend",
                           "model_id",
                           "num_prompts",
                           "request_rate",
                           "burstiness",
                           "max_concurrency",
                           "duration",
                           "completed",
                           "failed",
                           "total_input_tokens",
                           "total_output_tokens",
                           "request_throughput",
                           "request_goodput",
                           "output_throughput",
                           "total_token_throughput",
                           "max_output_tokens_per_s",
                           "max_concurrent_requests",
                           "mean_ttft_ms",
                           "median_ttft_ms",
                           "std_ttft_ms",
                           "p99_ttft_ms",
                           "mean_tpot_ms",
                           "p99_tpot_ms",
                           "mean_itl_ms",
                           "p99_itl_ms",
                           "mean_e2el_ms",
                           "p99.9_e2el_ms",
                           "input_lens",
                           "output_lens",
                           "ttfts",
                           "itls",
                           "errors"})
    EXPECT_TRUE(json.contains(name)) << name;
  EXPECT_EQ(json["completed"], 99);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["total_output_tokens"], 297);
  EXPECT_EQ(json["ttfts"].size(), 100u);
  EXPECT_EQ(json["sluice"]["errors_by_kind"]["http_503"], 1);
  EXPECT_NEAR(json["mean_itl_ms"], 25, 1e-9);
  EXPECT_TRUE(json["request_goodput"].is_null());
}

TEST(ResultJson, a_sweep_has_points_that_read_back) {
  const std::string text =
      json_of(measured({10, 20, 40}), {}, plan_for_tests(), {.model = "m", .label = "l"});
  const auto runs = parse_result_file(text, "r.json");
  ASSERT_TRUE(runs.ok()) << runs.error().message;
  ASSERT_EQ(runs->size(), 3u);
  EXPECT_EQ((*runs)[1].label, "l, 20 req/s");
  EXPECT_EQ((*runs)[1].rate_rps, 20);
  EXPECT_EQ((*runs)[1].failed, 1);
  EXPECT_EQ((*runs)[1].curves_ms.at("ttft").size(), 201u);
  EXPECT_FALSE((*runs)[1].timeline.empty());
  EXPECT_FALSE((*runs)[1].remarks.empty());
}

TEST(Csv, has_a_line_for_each_request) {
  const auto workload = Workload::load({PartSpec{}}, 1);
  ASSERT_TRUE(workload.ok());
  const std::string csv = csv_of(measured({10, 20}), *workload);
  EXPECT_EQ(std::ranges::count(csv, '\n'), 201);
  EXPECT_NE(csv.find("\"busy, \"\"very\"\" <b>\""), std::string::npos);
  EXPECT_EQ(csv.find(",nan"), std::string::npos);
}

TEST(Table, tells_one_run_at_length_and_many_in_lines) {
  const std::string one = table_of(measured({10}), plan_for_tests(), {.model = "m"});
  EXPECT_NE(one.find("99 of 100"), std::string::npos);
  EXPECT_NE(one.find("http_503 1"), std::string::npos);
  EXPECT_NE(one.find("p99.9"), std::string::npos);
  const std::string many = table_of(measured({10, 20}), plan_for_tests(), {.model = "m"});
  EXPECT_NE(many.find("\n  10 req/s"), std::string::npos);
  EXPECT_NE(many.find("\n  20 req/s"), std::string::npos);
}

TEST(HtmlReport, stands_alone_and_escapes) {
  for (const auto& rates : {std::vector<double>{10}, std::vector<double>{10, 20, 40}}) {
    const auto runs = parse_result_file(json_of(measured(rates), {}, plan_for_tests(), {.model = "m"}), "r");
    ASSERT_TRUE(runs.ok());
    const std::string page = html_report({.title = "<script>", .command = "a && b"}, *runs);
    EXPECT_EQ(page.find("<script"), std::string::npos);
    EXPECT_EQ(page.find("src="), std::string::npos);
    EXPECT_EQ(page.find("href="), std::string::npos);
    EXPECT_EQ(page.find("url("), std::string::npos);
    EXPECT_EQ(page.find("nan"), std::string::npos);
    EXPECT_NE(page.find("Time to first token"), std::string::npos);
    size_t plots = 0;
    for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1)) ++plots;
    EXPECT_GE(plots, 8u);
    EXPECT_EQ(page.find("Over the load") != std::string::npos, rates.size() > 1);
  }
}

}  // namespace
}  // namespace sluice::bench
