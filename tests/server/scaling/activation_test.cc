#include "server/scaling/activation.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using Wish = Activation::Wish;

TEST(Activation, wakes_when_somebody_waits_and_nobody_is_there_or_on_the_way) {
  Activation activation(0);
  EXPECT_EQ(activation.look({}, 0), Wish::kNothing);
  EXPECT_EQ(activation.look({.in_flight = 1, .demand = 1}, 1), Wish::kWake);
  EXPECT_EQ(activation.look({.in_flight = 1, .demand = 1, .loading = 1}, 2), Wish::kNothing);
  EXPECT_EQ(activation.look({.in_flight = 1, .demand = 1, .ready = 1}, 3), Wish::kNothing);
  // The one that was on its way is not believed any more.
  EXPECT_EQ(activation.look({.in_flight = 1, .demand = 1}, 400), Wish::kWake);
}

TEST(Activation, does_not_repeat_itself_before_its_rest_is_over) {
  Activation activation(0);
  ASSERT_EQ(activation.look({.in_flight = 1}, 0), Wish::kWake);
  activation.rest(5, 0);
  activation.rest(1, 0);  // the longer one counts
  EXPECT_EQ(activation.look({.in_flight = 1}, 4.9), Wish::kNothing);
  EXPECT_EQ(activation.look({.in_flight = 1}, 5), Wish::kWake);
}

TEST(Activation, sleeps_when_nobody_asked_for_long_enough) {
  Activation activation(10);
  EXPECT_EQ(activation.look({.ready = 1}, 100), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 1}, 109.9), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 1}, 110), Wish::kSleep);
  // A single request begins the time anew.
  EXPECT_EQ(activation.look({.in_flight = 1, .demand = 1, .ready = 1}, 111), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 1}, 112), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 1}, 121), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 1}, 122), Wish::kSleep);
  EXPECT_EQ(activation.look({}, 123), Wish::kNothing);  // it sleeps
}

TEST(Activation, lets_a_replica_that_loads_have_its_turn) {
  Activation activation(10);
  EXPECT_EQ(activation.look({.ready = 1}, 0), Wish::kNothing);
  EXPECT_EQ(activation.look({.demand = 1, .ready = 1, .loading = 1}, 10), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 2}, 11), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 2}, 20.5), Wish::kNothing);
  EXPECT_EQ(activation.look({.ready = 2}, 21), Wish::kSleep);
}

TEST(Activation, never_sleeps_without_a_time_for_it) {
  Activation activation(0);
  for (double now = 0; now < 1e6; now += 1e4) ASSERT_EQ(activation.look({.ready = 1}, now), Wish::kNothing);
}

}  // namespace
}  // namespace sluice
