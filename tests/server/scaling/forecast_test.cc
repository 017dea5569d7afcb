#include "server/scaling/forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

namespace sluice {
namespace {

struct Played {
  int covered = 0, judged = 0;
  double coverage() const { return covered / static_cast<double>(judged); }
};

// Feeds rate(t) in steps of ten seconds with some noise; from `after` on compares each guess with what came.
template <class Rate>
Played play(Forecast& forecast, double days, double after, uint64_t seed, Rate rate) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> noise(0, 0.1);
  struct Open {
    double at, said, most = 0;
  };
  std::vector<Open> open;
  Played played;
  double bucket = 0;
  for (double now = 0; now < days * 86'400; now += 10) {
    const double amount = rate(now) * 10 * noise(random);
    forecast.observe(amount, now);
    bucket += amount;
    if (std::fmod(now + 10, 30) != 0) continue;
    for (Open& each : open) each.most = std::max(each.most, bucket / 30);
    bucket = 0;
    while (!open.empty() && open.front().at <= now - 300) {
      played.covered += open.front().most <= open.front().said;
      ++played.judged;
      open.erase(open.begin());
    }
    if (now > after * 86'400) open.push_back({now, forecast.peak()});
  }
  return played;
}

double day(double now) {
  return 100 + 90 * std::sin(2 * std::numbers::pi * now / 86'400);
}

TEST(Forecast, learns_the_day_and_is_right_nine_times_of_ten) {
  Forecast forecast({});
  const Played played = play(forecast, 4, 2, 1, day);
  EXPECT_GT(played.coverage(), 0.8);
  EXPECT_LT(played.coverage(), 0.97);
  EXPECT_LE(forecast.loss(), forecast.naive_loss());
}

// Every day at the same time the load steps up tenfold: only who remembers yesterday is ready for it.
TEST(Forecast, is_ready_for_a_step_that_comes_every_day) {
  const auto steps = [](double now) { return std::fmod(now, 86'400) > 43'200 ? 100.0 : 10.0; };
  Forecast forecast({});
  play(forecast, 2.4998, 3, 2, steps);  // up to some seconds before noon
  EXPECT_GT(forecast.peak(), 80);
  EXPECT_STREQ(forecast.method(), "day");
}

TEST(Forecast, sees_a_ramp_before_it_is_there) {
  Forecast forecast({});
  const auto ramp = [](double now) { return 10 + now / 36; };  // 10 more in six minutes
  play(forecast, 0.25, 1, 3, ramp);
  const double now = ramp(0.25 * 86'400);
  EXPECT_GT(forecast.peak(), now + 5);
  EXPECT_LT(forecast.peak(), now * 1.5);
  EXPECT_LT(forecast.loss(), forecast.naive_loss() * 1.2);
}

TEST(Forecast, is_not_trusted_before_it_has_proved_itself_nor_when_it_cannot) {
  Forecast young({});
  play(young, 0.05, 1, 4, day);
  EXPECT_FALSE(young.trusted());
  // Jumps that nothing foretells: the naive guess does as well as any, and what is not better is not trusted.
  int trusted = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    std::mt19937_64 random(seed);
    double level = 50, until = 0;
    Forecast forecast({});
    play(forecast, 1.5, 2, seed, [&](double now) {
      if (now > until) {
        level = static_cast<double>(random() % 100);
        until = now + 3600 + static_cast<double>(random() % 3600);
      }
      return level;
    });
    trusted += forecast.trusted();
  }
  EXPECT_LE(trusted, 2);
}

TEST(Forecast, says_nothing_at_first_and_falls_when_nothing_comes) {
  Forecast forecast({});
  EXPECT_EQ(forecast.peak(), 0);
  play(forecast, 0.1, 1, 5, [](double) { return 100.0; });
  EXPECT_NEAR(forecast.peak(), 110, 25);
  forecast.advance(0.1 * 86'400 + 4 * 3600);
  EXPECT_LT(forecast.peak(), 60);
  forecast.advance(1e12);  // a clock that leaps
  EXPECT_TRUE(std::isfinite(forecast.peak()));
  forecast.observe(std::nan(""), 1e12 + 1);
  forecast.observe(-5, 1e12 + 2);
  forecast.advance(1e12 + 1000);
  EXPECT_TRUE(std::isfinite(forecast.peak()));
}

}  // namespace
}  // namespace sluice
