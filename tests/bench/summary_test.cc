#include "bench/serve/summary.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>

#include "bench/serve/random.h"
#include "bench/serve/remarks.h"
#include "bench/serve/timeline.h"

namespace sluice::bench {
namespace {

// Due, sent `late` after that, its tokens at equal distances.
RequestRecord answered(double due_s, double late_s, double ttft_s, uint32_t tokens, double gap_s) {
  RequestRecord record;
  record.outcome = Outcome::kDone;
  record.status = 200;
  record.planned_s = due_s;
  record.sent_s = due_s + late_s;
  record.first_s = record.sent_s + ttft_s;
  record.last_s = record.first_s + gap_s * (tokens - 1);
  record.end_s = record.last_s;
  record.input_tokens = record.wanted_input = 10;
  record.output_tokens = record.events = record.wanted_output = tokens;
  record.has_usage = true;
  record.gaps_ms.assign(tokens - 1, static_cast<float>(gap_s * 1e3));
  return record;
}

RunResult run_of(std::vector<RequestRecord> records) {
  RunResult run;
  for (const RequestRecord& each : records) run.duration_s = std::max(run.duration_s, each.end_s);
  run.records = std::move(records);
  return run;
}

bool has_remark(const Summary& summary, const std::string& kind) {
  return std::ranges::count(summary.remarks, kind, &Remark::kind) == 1;
}

TEST(Summary, counts_from_the_planned_moment_and_tells_the_sends_beside) {
  const Summary got =
      summarize({run_of({answered(0, 0, 0.1, 11, 0.01), answered(1, 0.5, 0.1, 11, 0.01)})}, {});
  EXPECT_NEAR(got.ttft.max(), 600, 1e-6);
  EXPECT_NEAR(got.ttft_sent.max(), 100, 1e-6);
  EXPECT_NEAR(got.e2el.max(), 700, 1e-6);
  EXPECT_NEAR(got.e2el_sent.max(), 200, 1e-6);
  EXPECT_NEAR(got.late.max(), 500, 1e-6);
  EXPECT_NEAR(got.tpot.mean(), 10, 1e-6);
  EXPECT_EQ(got.itl.count(), 20u);
  EXPECT_NEAR(got.itl.mean(), 10, 1e-4);
  EXPECT_EQ(got.completed, 2u);
  EXPECT_EQ(got.output_tokens, 22u);
  EXPECT_NEAR(got.output_throughput, 22 / 1.7, 1e-9);
  EXPECT_TRUE(has_remark(got, "client_late"));
  EXPECT_TRUE(has_remark(got, "few"));
}

TEST(Summary, goodput_judges_each_request) {
  const RunResult run = run_of({answered(0, 0, 0.1, 11, 0.01), answered(0, 0, 0.3, 11, 0.01),
                                answered(0, 0, 0.1, 11, 0.08), answered(0, 0, 0.1, 1, 0)});
  const auto good = [&](std::vector<std::string> terms) {
    return summarize({run}, {.slo = parse_slo(terms).value()}).good;
  };
  EXPECT_EQ(good({}), 4u);
  EXPECT_EQ(good({"ttft:200"}), 3u);
  EXPECT_EQ(good({"ttft:200", "tpot:50"}), 2u);
  EXPECT_EQ(good({"itl:50"}), 3u);
  EXPECT_EQ(good({"e2el:150,ttft:200"}), 1u);
  EXPECT_FALSE(parse_slo({"ttft:x"}).ok());
  EXPECT_FALSE(parse_slo({"ttft:-1"}).ok());
}

TEST(Summary, errors_have_kinds_and_no_latency) {
  std::vector<RequestRecord> records = {answered(0, 0, 0.1, 3, 0.01)};
  const auto failed = [&](Outcome outcome, int status) {
    RequestRecord record = answered(0.5, 0, 9, 2, 0.01);
    record.outcome = outcome;
    record.status = static_cast<int16_t>(status);
    record.fault = "why";
    records.push_back(record);
  };
  failed(Outcome::kHttpStatus, 429);
  failed(Outcome::kHttpStatus, 429);
  failed(Outcome::kHttpStatus, 500);
  failed(Outcome::kTimeout, 0);
  failed(Outcome::kCancelled, 200);
  failed(Outcome::kCut, 200);
  const Summary got = summarize({run_of(records)}, {});
  EXPECT_EQ(got.completed, 1u);
  EXPECT_EQ(got.failed, 4u);
  EXPECT_EQ(got.cancelled, 1u);
  EXPECT_EQ(got.cut, 1u);
  EXPECT_EQ(got.errors, (std::map<std::string, size_t>{{"http_429", 2}, {"http_500", 1}, {"timeout", 1}}));
  EXPECT_EQ(got.error_examples.size(), 3u);
  EXPECT_LT(got.ttft.max(), 101);
  EXPECT_TRUE(has_remark(got, "failures"));
}

TEST(Summary, the_warm_up_is_not_counted) {
  auto early = answered(0, 0, 5, 3, 0.01);
  early.is_warmup = true;
  const Summary got = summarize({run_of({early, answered(10, 0, 0.1, 3, 0)})}, {.warmup_s = 5});
  EXPECT_EQ(got.requests, 1u);
  EXPECT_EQ(got.warmups, 1u);
  EXPECT_NEAR(got.duration_s, 5.1, 1e-9);
  EXPECT_LT(got.ttft.max(), 101);
}

TEST(Summary, repeats_give_intervals_and_errors) {
  std::vector<RunResult> runs;
  for (int seed = 0; seed < 5; ++seed) {
    Random random(static_cast<uint64_t>(seed));
    std::vector<RequestRecord> records;
    for (int i = 0; i < 400; ++i)
      records.push_back(answered(i * 0.1, 0, 0.1 + 0.02 * random.normal(), 5, 0.01));
    runs.push_back(run_of(std::move(records)));
  }
  const Summary got = summarize(runs, {});
  const Interval mean = got.intervals.at("mean_ttft_ms");
  EXPECT_LT(mean.low, got.ttft.mean());
  EXPECT_GT(mean.high, got.ttft.mean());
  EXPECT_NEAR(got.standard_errors.at("mean_ttft_ms"), 20 / std::sqrt(2000), 0.3);
  // Alone, a run's own stretches tell about as much: 20 ms over 400 requests.
  const Summary alone = summarize({runs[0]}, {});
  EXPECT_NEAR(alone.standard_errors.at("mean_ttft_ms"), 1, 0.5);
  EXPECT_TRUE(alone.intervals.empty());
}

TEST(Timeline, tells_what_was_in_flight_and_when_tokens_came) {
  std::vector<RequestRecord> records;
  for (int i = 0; i < 100; ++i) records.push_back(answered(i * 0.1, 0, 0.1, 11, 0.09));  // 1 s each
  const auto points = make_timeline(records, 10.9);
  ASSERT_GT(points.size(), 20u);
  const TimelinePoint& middle = points[points.size() / 2];
  EXPECT_NEAR(middle.in_flight, 10, 1.01);
  EXPECT_NEAR(middle.arrivals_per_s, 10, 4.1);
  EXPECT_NEAR(middle.tokens_per_s, 110, 30);
  EXPECT_NEAR(middle.ttft_p50_ms, 100, 1e-6);
  double tokens = 0;
  for (const TimelinePoint& point : points) tokens += point.tokens_per_s * 2 * points[0].at_s;
  EXPECT_NEAR(tokens, 1100, 1e-6);
  const Peaks peaks = find_peaks(records);
  EXPECT_NEAR(static_cast<double>(peaks.in_flight), 10, 1.01);
  EXPECT_NEAR(peaks.tokens_per_s, 110, 11);
  EXPECT_TRUE(make_timeline({}, 5).empty());
}

TEST(Remarks, a_growing_backlog_is_told_and_a_steady_one_is_not) {
  const auto run = [](double served_per_s) {
    std::vector<RequestRecord> records;
    double free_at = 0;
    for (int i = 0; i < 2000; ++i) {
      const double due = i * 0.01;
      free_at = std::max(free_at, due) + 1 / served_per_s;
      records.push_back(answered(due, 0, free_at - due, 1, 0));
    }
    return summarize({run_of(std::move(records))}, {});
  };
  EXPECT_TRUE(has_remark(run(50), "backlog"));
  EXPECT_FALSE(has_remark(run(150), "backlog"));
  EXPECT_TRUE(run(150).remarks.empty());
}

TEST(Remarks, saturation_is_told_in_words) {
  RunResult run = run_of({answered(0, 0, 0.1, 3, 0.01)});
  run.client_busy = 0.97;
  run.machine_busy = 0.99;
  const Summary busy = summarize({run}, {});
  EXPECT_TRUE(has_remark(busy, "client_busy"));
  EXPECT_TRUE(has_remark(busy, "machine_busy"));
  run.client_busy = run.machine_busy = 0.3;
  run.worst_stall_ms = 40;
  const Summary stalled = summarize({run}, {});
  EXPECT_TRUE(has_remark(stalled, "client_stalled"));
  EXPECT_FALSE(has_remark(stalled, "machine_busy"));
  const auto told = grouped({{"a", busy.remarks}, {"b", busy.remarks}, {"c", stalled.remarks}});
  ASSERT_EQ(told.size(), 4u);  // client, machine, stall, few
  EXPECT_TRUE(told[0].starts_with("a (and 1 other): "));
}

}  // namespace
}  // namespace sluice::bench
