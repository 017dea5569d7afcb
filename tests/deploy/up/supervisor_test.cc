#include "deploy/up/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sluice::up {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Kind = Step::Kind;

SupervisorOptions bounds(int least, int most) {
  SupervisorOptions options;
  options.hpa.min_replicas = least;
  options.hpa.max_replicas = most;
  options.hpa.tolerance = 0;
  options.hpa.sync = 1;
  options.hpa.down.stabilization = 10;
  return options;
}

// Replicas are ready a second after their start, and end a second after they were told to.
class World {
 public:
  explicit World(const SupervisorOptions& options) : supervisor(options) {}

  // Lets time pass, by tenths of a second.
  void pass(double seconds) {
    for (const double end = now + seconds; now < end - 1e-9; now += 0.1) {
      std::vector<Sight> sights;
      for (const auto& [number, since] : running) {
        sights.push_back({.number = number,
                          .is_ready = now >= since + 1,
                          .is_unhealthy = sick.contains(number),
                          .in_flight = in_flight[number]});
      }
      if (is_heard) supervisor.hear(demand, sights, now);
      for (auto at = ending.begin(); at != ending.end();) {
        if (now < at->second) {
          ++at;
          continue;
        }
        running.erase(at->first);
        supervisor.ended(at->first, now);
        at = ending.erase(at);
      }
      for (const Step& step : supervisor.advance(now)) {
        steps.push_back(step);
        if (step.kind == Kind::kStart) running[step.number] = now;
        if (step.kind == Kind::kStop) ending[step.number] = now + 1;
        if (step.kind == Kind::kKill) ending[step.number] = now;
      }
    }
  }
  void crash(int number) {
    running.erase(number);
    supervisor.ended(number, now);
  }
  std::vector<Step> take() { return std::exchange(steps, {}); }
  int ready() const { return supervisor.count(ReplicaState::kReady); }

  Supervisor supervisor;
  double now = 100;
  double demand = 0;
  bool is_heard = true;
  std::map<int, double> running, ending;
  std::map<int, double> in_flight;
  std::set<int> sick;
  std::vector<Step> steps;
};

TEST(Supervisor, starts_the_least_and_follows_the_demand_up_and_down) {
  World world(bounds(1, 5));
  world.pass(2);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStart, 1}));
  world.demand = 3;
  world.pass(3);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStart, 2}, Step{Kind::kStart, 3}));
  EXPECT_EQ(world.ready(), 3);
  world.demand = 40;  // not beyond the bound
  world.pass(30);
  EXPECT_EQ(world.ready(), 5);
  world.demand = 0;
  world.pass(9);  // the window of ten seconds is not over
  EXPECT_EQ(world.ready(), 5);
  world.pass(60);
  EXPECT_EQ(world.ready(), 1);
  EXPECT_EQ(world.running.size(), 1U);
}

TEST(Supervisor, the_one_with_least_in_flight_goes_and_leaves_the_list_before_it_is_told) {
  World world(bounds(3, 3));
  world.pass(3);
  world.take();
  Supervisor& supervisor = world.supervisor;
  EXPECT_EQ(world.ready(), 3);
  // The bounds do not change in a run: so it is asked by the demand of a wider one.
  World wide(bounds(1, 3));
  wide.demand = 3;
  wide.pass(5);
  wide.take();
  wide.in_flight = {{1, 4}, {2, 1}, {3, 2}};
  wide.demand = 2;
  while (wide.supervisor.count(ReplicaState::kLeaving) == 0) wide.pass(0.1);
  EXPECT_FALSE(wide.supervisor.is_listed(2));
  EXPECT_THAT(wide.take(), IsEmpty());
  wide.pass(0.7);
  EXPECT_THAT(wide.take(), ElementsAre(Step{Kind::kStop, 2}));
  EXPECT_TRUE(supervisor.is_listed(2));
}

TEST(Supervisor, sleeps_at_zero_and_wakes_at_once) {
  World world(bounds(0, 4));
  world.pass(2);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStart, 1}));  // it shows that the model loads
  world.pass(20);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStop, 1}));
  EXPECT_TRUE(world.supervisor.replicas().empty());
  world.demand = 1;
  world.pass(0.15);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStart, 1}));
}

TEST(Supervisor, a_crashed_one_comes_back_later_and_later) {
  World world(bounds(1, 2));
  world.pass(3);
  world.take();
  double expected = 1;
  for (int crash = 0; crash < 8; ++crash) {
    world.crash(1);
    const double crashed = world.now;
    while (world.steps.empty()) world.pass(0.1);
    EXPECT_NEAR(world.now - crashed, expected, 0.21) << "crash " << crash;
    EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStart, 1}));
    expected = std::min(2 * expected, 60.0);
  }
  EXPECT_FALSE(world.supervisor.is_hopeless());
  world.pass(70);  // it was well for long: its faults are forgotten
  world.crash(1);
  world.pass(1.2);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kStart, 1}));
}

TEST(Supervisor, gives_up_when_the_first_one_never_comes) {
  World world(bounds(2, 2));
  world.pass(0.5);
  world.crash(2);
  EXPECT_TRUE(world.supervisor.is_hopeless());
}

TEST(Supervisor, kills_who_loads_too_long_or_hangs) {
  SupervisorOptions options = bounds(1, 1);
  options.startup_timeout = 20;
  Supervisor supervisor(options);
  EXPECT_THAT(supervisor.advance(0), ElementsAre(Step{Kind::kStart, 1}));
  EXPECT_THAT(supervisor.advance(19), IsEmpty());
  EXPECT_THAT(supervisor.advance(20), ElementsAre(Step{Kind::kKill, 1}));
  EXPECT_THAT(supervisor.advance(21), IsEmpty());  // once

  World world(bounds(1, 1));
  world.pass(3);
  world.take();
  world.sick = {1};
  world.pass(59);
  EXPECT_THAT(world.take(), IsEmpty());
  world.sick = {};
  world.pass(1);
  world.sick = {1};
  world.pass(61);
  EXPECT_THAT(world.take(), ElementsAre(Step{Kind::kKill, 1}));
}

TEST(Supervisor, all_stays_as_it_is_while_the_router_says_nothing) {
  World world(bounds(1, 5));
  world.demand = 3;
  world.pass(30);
  world.take();
  world.is_heard = false;
  world.pass(300);
  EXPECT_THAT(world.take(), IsEmpty());
  EXPECT_EQ(world.ready(), 3);
}

TEST(Supervisor, whoever_waits_to_be_started_goes_first) {
  World world(bounds(1, 3));
  world.demand = 3;
  world.pass(5);
  world.crash(1);
  world.pass(0.1);
  world.crash(1);  // of no process: it waits already
  world.take();
  world.demand = 2;
  while (world.supervisor.desired() == 3 && world.now < 200) {
    if (world.running.contains(1)) world.crash(1);
    world.pass(0.1);
  }
  EXPECT_FALSE(world.supervisor.replicas().contains(1));
  EXPECT_TRUE(world.supervisor.is_listed(2));
  EXPECT_TRUE(world.supervisor.is_listed(3));
}

// Whatever happens: bounds hold, no number runs twice, nothing is stopped twice, and in the end what was
// asked for is there.
TEST(Supervisor, keeps_its_promises_in_any_history) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const int least = static_cast<int>(random() % 3), most = least + 1 + static_cast<int>(random() % 6);
    World world(bounds(least, most));
    world.pass(2);
    for (int turn = 0; turn < 300; ++turn) {
      switch (random() % 6) {
        case 0:
          world.demand = static_cast<double>(random() % 12);
          break;
        case 1:
          if (!world.running.empty()) {
            const int number = world.running.begin()->first;
            world.ending.erase(number);
            world.crash(number);
          }
          break;
        case 2:
          world.in_flight[1 + static_cast<int>(random() % 6)] = static_cast<double>(random() % 9);
          break;
        case 3:
          world.is_heard = random() % 4 != 0;
          break;
        default:
          break;
      }
      world.pass(static_cast<double>(random() % 40) / 10);
      const int staying = static_cast<int>(world.supervisor.replicas().size()) -
                          world.supervisor.count(ReplicaState::kLeaving);
      ASSERT_LE(staying, most);
      ASSERT_GE(staying, least);
      std::set<int> up;
      for (const auto& [number, replica] : world.supervisor.replicas()) {
        const bool runs = replica.state != ReplicaState::kWaiting;
        ASSERT_EQ(runs, world.running.contains(number)) << number;
      }
    }
    world.is_heard = true;
    world.demand = most;
    world.pass(200);
    EXPECT_EQ(world.ready(), most);
  }
}

}  // namespace
}  // namespace sluice::up
