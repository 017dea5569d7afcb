#include "router/core/fleet.h"

#include <gtest/gtest.h>

#include <random>

#include "router/core/budget.h"

namespace sluice::router {
namespace {

TEST(Fleet, charges_are_given_back_whichever_way_they_end) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    std::mt19937_64 random(seed);
    Fleet fleet({});
    std::vector<Replica*> replicas;
    for (const char* name : {"a", "b", "c"}) replicas.push_back(fleet.add({.name = name}));
    std::vector<Charge> charges;
    Seconds now = 0;
    for (int step = 0; step < 1000; ++step) {
      now += 0.01;
      const auto tokens = static_cast<uint32_t>(1 + random() % 100'000);
      const auto cached = static_cast<uint32_t>(random() % 120'000);
      if (charges.empty() || random() % 3 == 0) {
        charges.push_back(fleet.charge(*replicas[random() % 3], tokens, cached, now));
        continue;
      }
      Charge& charge = charges[random() % charges.size()];
      switch (random() % 6) {
        case 0:
          charge.prefilled(now);
          break;
        case 1:
          charge.correct(tokens, cached);
          break;
        case 2:
          charge.release();
          break;
        case 3:
          charge = Charge();
          break;
        case 4:
          std::swap(charge, charges.back());
          break;
        default:
          std::swap(charge, charges.back());
          charges.pop_back();
      }
      for (const Replica* replica : replicas) {
        ASSERT_GE(replica->prefill_work.tokens, 0) << "seed " << seed;
        ASSERT_LE(replica->prefilling, replica->in_flight);
        ASSERT_GE(replica->wait_seconds(now), 0) << "seed " << seed;
      }
    }
    charges.clear();
    for (const Replica* replica : replicas) {
      EXPECT_EQ(replica->in_flight, 0U);
      EXPECT_EQ(replica->prefilling, 0U);
      EXPECT_EQ(replica->context_tokens, 0U);
      EXPECT_EQ(replica->prefill_work.tokens, 0);
      EXPECT_EQ(replica->prefill_work.attention, 0);
    }
  }
}

TEST(Fleet, a_replica_that_left_stays_until_its_last_request_ended) {
  Fleet fleet({});
  Replica* replica = fleet.add({.name = "a"});
  const ReplicaId id = replica->id;
  Charge charge = fleet.charge(*replica, 100, 0, 0);
  fleet.remove(id);
  ASSERT_NE(fleet.find(id), nullptr);
  EXPECT_EQ(fleet.find("a"), nullptr);
  const Replica* again = fleet.add({.name = "a"});
  ASSERT_NE(again, nullptr);
  EXPECT_NE(again->id, id);
  charge.release();
  EXPECT_EQ(fleet.find(id), nullptr);
  EXPECT_EQ(fleet.replicas().size(), 1U);
}

TEST(Fleet, refuses_twice_the_same_name_and_more_than_its_bound) {
  Fleet fleet({.max_replicas = 2});
  EXPECT_NE(fleet.add({.name = "a"}), nullptr);
  EXPECT_EQ(fleet.add({.name = "a"}), nullptr);
  EXPECT_NE(fleet.add({.name = "b"}), nullptr);
  EXPECT_EQ(fleet.add({.name = "c"}), nullptr);
}

TEST(Fleet, what_others_sent_counts_beside_ours) {
  Fleet fleet({});
  Replica* replica = fleet.add({.name = "a"});
  const Charge charge = fleet.charge(*replica, 8000, 0, 0);
  EXPECT_NEAR(replica->wait_seconds(0), 1, 1e-9);
  EXPECT_NEAR(replica->wait_seconds(0.5), 0.5, 1e-9);
  fleet.report(*replica, {.at = 0.5, .running = 3, .waiting = 2, .prefill_tokens = 24'000});
  EXPECT_NEAR(replica->wait_seconds(0.5), 0.5, 1e-9) << "one report may have crossed a first byte";
  fleet.report(*replica, {.at = 0.5, .running = 3, .waiting = 2, .prefill_tokens = 24'000});
  EXPECT_NEAR(replica->wait_seconds(0.5), 2.5, 1e-9);
  EXPECT_EQ(replica->foreign_running, 4U);
}

TEST(Fleet, learns_the_rate_from_a_busy_replica) {
  Fleet fleet({});
  Replica* replica = fleet.add({.name = "a"});
  Seconds now = 0;
  for (int burst = 0; burst < 40; ++burst) {
    std::vector<Charge> charges;
    for (int i = 0; i < 5; ++i) charges.push_back(fleet.charge(*replica, 2000, 0, now));
    for (Charge& charge : charges) {
      now += 2000.0 / 5000;
      charge.prefilled(now);
    }
    now += 100;  // idle time is not work
  }
  EXPECT_NEAR(1 / replica->rate.prefill().token_seconds, 5000, 250);
}

TEST(Fleet, a_rate_that_was_seen_seldom_or_long_ago_is_drawn_to_the_mean) {
  Fleet fleet({});
  Replica* replica = fleet.add({.name = "a"});
  const PrefillRate mean{.token_seconds = 1e-4};
  EXPECT_EQ(believed_rate(*replica, mean, 0).token_seconds, 1e-4);
  for (int i = 0; i < 50; ++i) replica->rate.observe_prefill(PrefillWork::of(4000, 0), 4000 * 4e-4);
  replica->observed_at = 100;
  EXPECT_GT(believed_rate(*replica, mean, 100).token_seconds, 3e-4);
  EXPECT_LT(believed_rate(*replica, mean, 1000).token_seconds, 1.01e-4);
}

TEST(Breaker, clients_errors_do_not_open_it_and_backpressure_waits) {
  Breaker breaker;
  for (int i = 0; i < 100; ++i) {
    breaker.started(0);
    breaker.ended(outcome_of_status(i % 2 == 0 ? 400 : 404), 0);
  }
  EXPECT_TRUE(breaker.allows(0));
  breaker.started(0);
  breaker.ended(outcome_of_status(429), 0, 7);
  EXPECT_EQ(breaker.state(0), BreakerState::kClosed);
  EXPECT_FALSE(breaker.allows(6.9));
  EXPECT_TRUE(breaker.allows(7));
  breaker.started(7);
  breaker.ended(outcome_of_status(503), 7, 1e9);
  EXPECT_TRUE(breaker.allows(7 + BreakerOptions{}.max_retry_after));
}

TEST(Breaker, opens_on_faults_tries_one_and_closes_on_success) {
  Breaker breaker({.fault_limit = 3, .success_limit = 2, .open_seconds = 2, .max_open_seconds = 5});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(breaker.allows(1));
    breaker.started(1);
    breaker.ended(Outcome::kFault, 1);
  }
  EXPECT_FALSE(breaker.allows(2.9));
  ASSERT_TRUE(breaker.allows(3));
  breaker.started(3);
  EXPECT_FALSE(breaker.allows(3)) << "one at a time";
  breaker.ended(Outcome::kFault, 3);
  EXPECT_FALSE(breaker.allows(6.9)) << "twice as long";
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(breaker.allows(7));
    breaker.started(7);
    breaker.ended(Outcome::kGood, 7);
  }
  EXPECT_EQ(breaker.state(7), BreakerState::kClosed);
}

TEST(Budget, bounds_extra_work_by_real_work) {
  Budget budget({.ratio = 0.1, .per_second = 0, .cap = 10});
  int spent = 0;
  for (int i = 0; i < 1000; ++i) {
    budget.earn(i);
    while (budget.spend(i)) ++spent;
  }
  EXPECT_GE(spent, 99);
  EXPECT_LE(spent, 101);
}

TEST(Health, needs_several_failures_to_fall_and_one_pass_to_start) {
  Health health({.fail_limit = 3, .pass_limit = 2});
  EXPECT_FALSE(health.healthy());
  health.checked(true);
  EXPECT_TRUE(health.healthy());
  health.checked(false);
  health.checked(false);
  EXPECT_TRUE(health.healthy());
  health.checked(false);
  EXPECT_FALSE(health.healthy());
  health.checked(true);
  EXPECT_FALSE(health.healthy());
  health.checked(true);
  EXPECT_TRUE(health.healthy());
}

TEST(PlacedHorizon, forgets_what_a_full_cache_forgets) {
  PlacedHorizon horizon(64'000);
  for (int i = 0; i < 1000; ++i) {
    horizon.placed(1000, i);
    // 64 placements fit; samples are some 64 apart, so one or two more are believed than there are.
    if (i < 64) {
      EXPECT_LT(horizon.horizon(), 0);
    } else {
      EXPECT_NEAR(horizon.horizon(), i - 64, 3);
      EXPECT_LE(horizon.horizon(), i - 64);
    }
  }
}

}  // namespace
}  // namespace sluice::router
