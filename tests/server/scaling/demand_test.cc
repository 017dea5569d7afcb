#include "server/scaling/demand.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace sluice {
namespace {

TEST(Demand, is_zero_without_load_and_one_with_any) {
  EXPECT_EQ(demand_of({}, {}).replicas, 0);
  EXPECT_FALSE(std::signbit(demand_of({}, {}).replicas));
  EXPECT_EQ(demand_of({}, {.ready = 3}).replicas, 0);
  EXPECT_EQ(demand_of({}, {.in_flight = 1, .knee = 100}).replicas, 1);
  EXPECT_EQ(demand_of({}, {.in_flight = 1}).replicas, 1);  // the knee is not known
  EXPECT_EQ(demand_of({}, {.loading = 1}).replicas, 1);    // it loads for somebody
}

TEST(Demand, each_term_can_bind) {
  const Demand concurrency = demand_of({}, {.in_flight = 95, .knee = 10});
  EXPECT_EQ(concurrency.replicas, 10);
  EXPECT_EQ(concurrency.reason, DemandTerm::kConcurrency);
  const Demand backlog =
      demand_of({.ttft_target = 2}, {.in_flight = 20, .uncomputed = 20, .backlog_seconds = 9, .knee = 100});
  EXPECT_EQ(backlog.replicas, 5);
  EXPECT_EQ(backlog.reason, DemandTerm::kBacklog);
  const Demand arrivals = demand_of({}, {.in_flight = 2, .offered = 2.5, .knee = 100});
  EXPECT_EQ(arrivals.replicas, 4);  // each busy for four fifths of its time
  EXPECT_EQ(arrivals.reason, DemandTerm::kArrivals);
  const Demand kv = demand_of({}, {.in_flight = 4, .kv_in_use = 2.5, .knee = 100});
  EXPECT_EQ(kv.replicas, 4);
  EXPECT_EQ(kv.reason, DemandTerm::kKv);
  const Demand slo = demand_of({.slo_ttft = 1}, {.in_flight = 4, .knee = 100, .ttft_p90 = 1.4, .ready = 4});
  EXPECT_EQ(slo.replicas, 6);
  EXPECT_EQ(slo.reason, DemandTerm::kSlo);
  const Demand forecast = demand_of({}, {.in_flight = 4, .knee = 4}, 2.5);
  EXPECT_EQ(forecast.replicas, 3);
  EXPECT_EQ(forecast.reason, DemandTerm::kForecast);
  EXPECT_STREQ(name_of(forecast.reason), "forecast");
}

TEST(Demand, one_long_prompt_is_not_computed_by_two) {
  const Load load{.in_flight = 1, .uncomputed = 1, .backlog_seconds = 60, .knee = 100};
  EXPECT_EQ(demand_of({}, load).replicas, 1);
}

TEST(Demand, a_backlog_that_is_gone_before_a_new_replica_comes_asks_for_none) {
  // Ten compute these 100 s in 20 s, and what arrives as well; an eleventh would come after 90 s.
  Load load{
      .in_flight = 200, .uncomputed = 100, .backlog_seconds = 100, .offered = 5, .knee = 100, .ready = 10};
  EXPECT_EQ(demand_of({.ttft_target = 2}, load).replicas, 50);  // as if it came at once
  load.cold_start = 90;
  EXPECT_EQ(demand_of({.ttft_target = 2}, load).raw, 6.25);  // what arrives binds
  load.backlog_seconds = 920;
  EXPECT_EQ(demand_of({.ttft_target = 2}, load).raw, 15);
  EXPECT_EQ(demand_of({.ttft_target = 2}, load).reason, DemandTerm::kBacklog);
  load.backlog_seconds = 0;
  EXPECT_EQ(demand_of({.ttft_target = 2}, load).terms[static_cast<size_t>(DemandTerm::kBacklog)], 0);
}

TEST(Demand, the_slo_term_at_most_doubles_what_is_ready) {
  const Load load{.in_flight = 4, .knee = 100, .ttft_p90 = 50, .ready = 3, .loading = 3};
  EXPECT_EQ(demand_of({.slo_ttft = 1}, load).replicas, 6);
  // Nobody is there any more whose latency that was.
  EXPECT_EQ(demand_of({.slo_ttft = 1}, {.ttft_p90 = 50, .ready = 3}).replicas, 0);
}

TEST(Demand, falls_only_when_fewer_have_room_to_spare) {
  const auto at = [](double in_flight, int ready) {
    return demand_of({}, {.in_flight = in_flight, .knee = 10, .ready = ready});
  };
  EXPECT_EQ(at(19, 3).replicas, 3);  // two would be filled to 0.95
  EXPECT_TRUE(at(19, 3).held);
  EXPECT_EQ(at(18, 3).replicas, 2);
  EXPECT_FALSE(at(16, 3).held);
  EXPECT_EQ(at(9.5, 2).replicas, 2);
  EXPECT_EQ(at(9, 2).replicas, 1);
  EXPECT_EQ(at(30, 8).replicas, 4);  // as far as the load allows, at once
  EXPECT_EQ(at(0, 8).replicas, 0);
  EXPECT_EQ(at(31, 3).replicas, 4);
}

TEST(Demand, what_piles_up_while_replicas_load_is_not_asked_for_again) {
  // Four are wanted for what arrives; the queue alone would ask for twelve.
  Load load{.in_flight = 120, .queued = 110, .offered = 3, .knee = 10, .ready = 1, .loading = 3};
  EXPECT_EQ(demand_of({}, load).replicas, 4);
  EXPECT_EQ(demand_of({}, load).credit, 8);
  load.offered = 6;  // more arrives than those can do
  EXPECT_EQ(demand_of({}, load).replicas, 8);
  load.offered = 0;  // nobody knows: what is coming is taken off
  EXPECT_EQ(demand_of({}, load).replicas, 9);
  load.loading = 0;  // no credit any more
  EXPECT_EQ(demand_of({}, load).replicas, 12);
}

// The HPA's own arithmetic for an Object or External metric with AverageValue 1.
int hpa(double demand, int replicas) {
  const double ratio = demand / replicas;
  return ratio >= 0.9 && ratio <= 1.1 ? replicas : static_cast<int>(std::ceil(demand));
}

TEST(Demand, grows_with_the_load_and_a_scaler_that_follows_comes_to_rest) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    std::mt19937_64 random(seed);
    const auto unit = [&] { return static_cast<double>(random() >> 11) / 9007199254740992.0; };
    Load load{.in_flight = unit() * 300, .kv_in_use = unit() * 4, .knee = 1 + unit() * 30};
    load.uncomputed = unit() * load.in_flight;
    load.backlog_seconds = unit() * 20;
    load.ready = 1 + static_cast<int>(random() % 30);
    Load more = load;
    more.in_flight *= 1 + unit();
    more.backlog_seconds *= 1 + unit();
    EXPECT_GE(demand_of({}, more).replicas, demand_of({}, load).replicas) << seed;
    // Moved to where it wants to be it stays: no flapping.
    int replicas = load.ready;
    for (int i = 0; i < 10; ++i) {
      load.ready = replicas;
      replicas = std::max(hpa(demand_of({}, load).replicas, replicas), 1);
    }
    load.ready = replicas;
    EXPECT_EQ(std::max(hpa(demand_of({}, load).replicas, replicas), 1), replicas) << seed;
    EXPECT_GE(replicas * 1.1, demand_of({}, load).raw) << seed;
  }
}

TEST(Demand, routers_add_up_to_one) {
  Load one{.in_flight = 10, .backlog_seconds = 2, .kv_in_use = 1.5, .knee = 8, .ready = 3, .loading = 1};
  const Load two{.in_flight = 20, .backlog_seconds = 1, .kv_in_use = 1.4, .knee = 9, .ready = 3};
  one += two;
  EXPECT_EQ(one.in_flight, 30);
  EXPECT_EQ(one.backlog_seconds, 3);
  EXPECT_EQ(one.kv_in_use, 1.5);
  EXPECT_EQ(one.knee, 8);
  EXPECT_EQ(one.ready, 3);
  EXPECT_EQ(one.loading, 1);
}

}  // namespace
}  // namespace sluice
