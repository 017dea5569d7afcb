#include "bench/serve/distribution.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>

#include "bench/serve/machine_use.h"
#include "bench/serve/random.h"

namespace sluice::bench {
namespace {

// numpy.percentile([15, 20, 35, 40, 50], …), .mean(), .std().
TEST(Distribution, agrees_with_numpy) {
  const Distribution of({40, 15, 50, 35, 20});
  EXPECT_DOUBLE_EQ(of.percentile(40), 29);
  EXPECT_DOUBLE_EQ(of.percentile(50), 35);
  EXPECT_DOUBLE_EQ(of.percentile(99), 49.6);
  EXPECT_DOUBLE_EQ(of.percentile(0), 15);
  EXPECT_DOUBLE_EQ(of.percentile(100), 50);
  EXPECT_DOUBLE_EQ(of.mean(), 32);
  EXPECT_NEAR(of.deviation(), 12.884098726725126, 1e-12);
  EXPECT_DOUBLE_EQ(of.share_within(35), 0.6);
}

TEST(Distribution, of_nothing_has_no_figures) {
  const Distribution none;
  EXPECT_EQ(none.count(), 0u);
  EXPECT_TRUE(std::isnan(none.mean()));
  EXPECT_TRUE(std::isnan(none.percentile(50)));
  EXPECT_DOUBLE_EQ(Distribution({7}).percentile(99.9), 7);
}

TEST(Confidence, holds_the_mean_19_times_of_20) {
  size_t held = 0;
  constexpr int kTrials = 4000;
  for (int trial = 0; trial < kTrials; ++trial) {
    Random random(static_cast<uint64_t>(trial));
    std::vector<double> results;
    for (int i = 0; i < 5; ++i) results.push_back(10 + random.normal());
    const Interval interval = confidence_95(results);
    held += interval.low <= 10 && 10 <= interval.high ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(held) / kTrials, 0.95, 0.015);
  EXPECT_TRUE(std::isnan(confidence_95(std::vector<double>{1}).low));
  EXPECT_NEAR(student_t_975(1), 12.706, 1e-9);
  EXPECT_NEAR(student_t_975(40), 2.021, 0.003);
  EXPECT_NEAR(student_t_975(120), 1.980, 0.003);
}

TEST(MachineUse, reads_the_kernels_count) {
  const auto before = parse_cpu_count("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n");
  const auto after = parse_cpu_count("cpu  175 0 75 820 30 0 0 0 9 9\n");
  ASSERT_TRUE(before && after);
  EXPECT_EQ(before->busy, 150u);
  EXPECT_EQ(before->total, 1000u);
  EXPECT_DOUBLE_EQ(busy_share(before, after), 1);
  EXPECT_TRUE(std::isnan(busy_share(before, before)));
  EXPECT_TRUE(std::isnan(busy_share(std::nullopt, after)));
  EXPECT_FALSE(parse_cpu_count("cpu  1 2 3"));
  EXPECT_FALSE(parse_cpu_count("nonsense"));
}

}  // namespace
}  // namespace sluice::bench
