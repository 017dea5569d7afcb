#include "router/core/router_core.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::router {
namespace {

using Kind = Action::Kind;

RouterCoreOptions small_options() {
  RouterCoreOptions options;
  options.index.budget_bytes = 1 << 20;
  options.dictionary_bytes = 1 << 18;
  options.fleet.prior.token_seconds = 1e-4;
  options.slow_start = 0;
  return options;
}

class RouterCoreTest : public ::testing::Test {
 protected:
  void start(RouterCoreOptions options, int replicas) {
    core.emplace(options);
    for (int i = 0; i < replicas; ++i) {
      ids.push_back(core->add_replica({.name = "r" + std::to_string(i), .streams_events = true}, now));
      core->health_checked(ids.back(), true, now);
      core->kv_event(ids.back(), {.kind = KvEvent::Kind::kSnapshotBegin, .epoch = 1}, now);
      core->kv_event(ids.back(), {.kind = KvEvent::Kind::kSnapshotEnd, .epoch = 1}, now);
    }
  }
  RequestSketch sketch(RequestId id, uint64_t prompt = 1, uint32_t tokens = 1600) {
    RequestSketch sketch{.id = id, .model = "m"};
    sketch.prompt = {.kind = PromptChain::Kind::kBlocks, .unit = 16, .size = tokens};
    for (uint32_t i = 0; i < tokens / 16; ++i) sketch.prompt.hashes.push_back(hash_combine(prompt, i));
    return sketch;
  }
  std::vector<Action> arrive(RequestSketch sketch) {
    core->arrive(std::move(sketch), now);
    return take();
  }
  std::vector<Action> take() {
    std::vector<Action> actions;
    core->take_actions(actions);
    return actions;
  }
  void answer(const Action& dispatch) {
    core->answered(dispatch.request, dispatch.attempt, 200, 0, now);
    core->first_byte(dispatch.request, dispatch.attempt, now);
  }
  void expect_nothing_charged() {
    for (const auto& replica : core->fleet().replicas()) {
      EXPECT_EQ(replica->in_flight, 0U);
      EXPECT_EQ(replica->prefill_work.tokens, 0);
      EXPECT_EQ(replica->context_tokens, 0U);
    }
    EXPECT_EQ(core->live(), 0U);
    EXPECT_EQ(core->queued(), 0U);
    EXPECT_EQ(core->queued_tokens(), 0U);
  }

  std::optional<RouterCore> core;
  std::vector<ReplicaId> ids;
  Seconds now = 100;
};

std::vector<Kind> kinds(const std::vector<Action>& actions) {
  std::vector<Kind> kinds;
  for (const Action& action : actions) kinds.push_back(action.kind);
  return kinds;
}

TEST_F(RouterCoreTest, a_request_goes_out_and_comes_back) {
  start(small_options(), 2);
  const auto out = arrive(sketch(1));
  ASSERT_EQ(kinds(out), std::vector<Kind>{Kind::kDispatch});
  answer(out[0]);
  EXPECT_EQ(kinds(take()), std::vector<Kind>{Kind::kRelay});
  core->ended(1, out[0].attempt, 10, now);
  EXPECT_TRUE(take().empty());
  EXPECT_EQ(core->stats().finished, 1U);
  expect_nothing_charged();
}

TEST_F(RouterCoreTest, a_burst_sees_itself) {
  start(small_options(), 4);
  // One prompt in many copies at one instant: the first is cold, the others follow it while that is soonest.
  std::vector<ReplicaId> where;
  for (RequestId id = 1; id <= 5; ++id) where.push_back(arrive(sketch(id, 7, 16'000))[0].replica);
  EXPECT_EQ(std::ranges::count(where, where[0]), 5);
  // Different prompts spread, though not one byte has come back yet.
  std::map<ReplicaId, int> spread;
  for (RequestId id = 11; id <= 18; ++id) ++spread[arrive(sketch(id, 100 + id, 16'000))[0].replica];
  EXPECT_EQ(spread.size(), 4U);
}

TEST_F(RouterCoreTest, a_503_is_tried_elsewhere_and_a_400_is_the_clients) {
  start(small_options(), 2);
  const auto first = arrive(sketch(1));
  core->answered(1, first[0].attempt, 503, 5, now);
  const auto second = take();
  ASSERT_EQ(kinds(second), (std::vector<Kind>{Kind::kCancel, Kind::kDispatch}));
  EXPECT_NE(second[1].replica, first[0].replica);
  core->answered(1, second[1].attempt, 400, 0, now);
  EXPECT_EQ(kinds(take()), std::vector<Kind>{Kind::kRelay});
  core->ended(1, second[1].attempt, 0, now);
  expect_nothing_charged();
  // Backpressure is heard: nothing goes there for five seconds.
  for (RequestId id = 2; id < 8; ++id) EXPECT_EQ(arrive(sketch(id, id))[0].replica, second[1].replica);
}

TEST_F(RouterCoreTest, all_overloaded_is_said_with_retry_after) {
  start(small_options(), 3);
  auto actions = arrive(sketch(1));
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(actions.back().kind, Kind::kDispatch);
    core->answered(1, actions.back().attempt, 429, 7, now);
    actions = take();
  }
  ASSERT_EQ(actions.back().kind, Kind::kReject);
  EXPECT_EQ(actions.back().status, 429);
  EXPECT_GE(actions.back().retry_after, 7);
  expect_nothing_charged();
}

TEST_F(RouterCoreTest, is_held_without_replicas_and_goes_when_one_comes) {
  start(small_options(), 0);
  EXPECT_EQ(kinds(arrive(sketch(1))), std::vector<Kind>{Kind::kHold});
  EXPECT_EQ(kinds(arrive(sketch(2, 2))), std::vector<Kind>{Kind::kHold});
  now += 30;
  core->advance(now);
  EXPECT_TRUE(take().empty());
  const ReplicaId id = core->add_replica({.name = "late"}, now);
  EXPECT_TRUE(take().empty());
  core->health_checked(id, true, now);
  EXPECT_EQ(kinds(take()), (std::vector<Kind>{Kind::kDispatch, Kind::kDispatch}));
}

TEST_F(RouterCoreTest, a_hold_ends_at_the_deadline) {
  start(small_options(), 0);
  arrive(sketch(1));
  EXPECT_NEAR(core->next_wakeup(), now + 0.05, 1e-9);
  now += 60;
  core->advance(now);
  const auto actions = take();
  ASSERT_EQ(kinds(actions), std::vector<Kind>{Kind::kReject});
  EXPECT_EQ(actions[0].status, 503);
  EXPECT_GT(actions[0].retry_after, 0);
  EXPECT_EQ(core->stats().rejected_deadline, 1U);
  expect_nothing_charged();
}

TEST_F(RouterCoreTest, a_client_that_leaves_is_cancelled_upstream) {
  start(small_options(), 1);
  arrive(sketch(1));
  core->client_left(1, now);
  EXPECT_EQ(kinds(take()), std::vector<Kind>{Kind::kCancel});
  core->ended(1, 1, 5, now);
  core->broke(1, 1, now);
  core->first_byte(1, 1, now);
  EXPECT_TRUE(take().empty());
  EXPECT_EQ(core->stats().client_left, 1U);
  expect_nothing_charged();
}

TEST_F(RouterCoreTest, a_broken_stream_fails_or_goes_on_elsewhere) {
  start(small_options(), 2);
  for (const bool resumable : {false, true}) {
    auto request = sketch(resumable ? 2 : 1);
    request.resumable = resumable;
    const auto out = arrive(std::move(request));
    answer(out[0]);
    take();
    core->broke(out[0].request, out[0].attempt, now);
    const auto next = take();
    if (!resumable) {
      ASSERT_EQ(kinds(next), std::vector<Kind>{Kind::kFail});
      continue;
    }
    ASSERT_EQ(kinds(next), std::vector<Kind>{Kind::kDispatch});
    EXPECT_TRUE(next[0].resume);
    EXPECT_NE(next[0].replica, out[0].replica);
    answer(next[0]);
    EXPECT_EQ(kinds(take()), std::vector<Kind>{Kind::kRelay});
    core->ended(2, next[0].attempt, 9, now);
  }
  EXPECT_EQ(core->stats().failed_midstream, 1U);
  EXPECT_EQ(core->stats().resumes, 1U);
  expect_nothing_charged();
}

TEST_F(RouterCoreTest, a_slow_first_token_is_hedged_and_the_first_answer_wins) {
  auto options = small_options();
  options.hedge_budget = {.ratio = 1, .per_second = 0, .cap = 20};
  start(options, 2);
  auto request = sketch(1);
  request.hedgeable = true;
  const auto out = arrive(std::move(request));
  const Seconds at = core->next_wakeup();
  EXPECT_GE(at, now + options.min_hedge_delay);
  now = at;
  core->advance(now);
  const auto hedge = take();
  ASSERT_EQ(kinds(hedge), std::vector<Kind>{Kind::kDispatch});
  EXPECT_NE(hedge[0].replica, out[0].replica);
  answer(hedge[0]);
  const auto won = take();
  ASSERT_EQ(kinds(won), (std::vector<Kind>{Kind::kRelay, Kind::kCancel}));
  EXPECT_EQ(won[1].attempt, out[0].attempt);
  core->ended(1, hedge[0].attempt, 3, now);
  EXPECT_EQ(core->stats().hedges_won, 1U);
  expect_nothing_charged();
}

TEST_F(RouterCoreTest, a_gap_asks_for_one_snapshot_and_stays_useful) {
  start(small_options(), 1);
  using Event = KvEvent::Kind;
  core->kv_event(ids[0], {.kind = Event::kStored, .epoch = 1, .sequence = 1, .hash = 5}, now);
  EXPECT_TRUE(take().empty());
  core->kv_event(ids[0], {.kind = Event::kStored, .epoch = 1, .sequence = 3, .hash = 6}, now);
  const auto actions = take();
  ASSERT_EQ(kinds(actions), std::vector<Kind>{Kind::kSnapshot});
  EXPECT_EQ(actions[0].replica, ids[0]);
  core->kv_event(ids[0], {.kind = Event::kStored, .epoch = 1, .sequence = 4, .hash = 7}, now);
  EXPECT_TRUE(take().empty());
  EXPECT_EQ(core->fleet().replicas()[0]->knowledge, Knowledge::kRepairing);
  EXPECT_EQ(kinds(arrive(sketch(1))), std::vector<Kind>{Kind::kDispatch});
}

TEST_F(RouterCoreTest, learns_what_text_means_from_what_a_replica_admits) {
  start(small_options(), 2);
  // 40 chunks of text that are 4,096 tokens; the replica tells its blocks.
  RequestSketch text{.id = 1, .model = "m"};
  text.prompt = {.kind = PromptChain::Kind::kText, .unit = kChunkBytes, .size = 40 * kChunkBytes};
  for (uint64_t i = 0; i < 40; ++i) text.prompt.hashes.push_back(hash_combine(77, i));
  auto again = text, third = text;
  const auto out = arrive(std::move(text));
  const ReplicaId holder = out[0].replica;
  uint64_t sequence = 0;
  const auto tell = [&](KvEvent event) {
    event.epoch = 1;
    event.sequence = ++sequence;
    core->kv_event(holder, event, now);
  };
  tell({.kind = KvEvent::Kind::kAdmitted, .hash = 1256, .request = 1, .prompt_tokens = 4096});
  for (uint64_t block = 1001; block <= 1256; ++block) {
    tell({.kind = KvEvent::Kind::kStored, .hash = block, .parent = block == 1001 ? 0 : block - 1});
  }
  tell({.kind = KvEvent::Kind::kPrefilled, .request = 1});
  answer(out[0]);
  core->ended(1, out[0].attempt, 1, now);
  EXPECT_EQ(core->dictionary().size(), 40U);
  // When the prediction has faded, the dictionary and the events are what is known.
  now += 100;
  again.id = 2;
  const Decision decision = core->consider(again, now);
  for (const Candidate& candidate : decision.candidates) {
    if (candidate.replica != holder) {
      EXPECT_EQ(candidate.cached_tokens, 0U);
      continue;
    }
    EXPECT_GE(candidate.cached_tokens, 4000U);
    EXPECT_LE(candidate.cached_tokens, 4096U);
  }
  // And an eviction is believed at once.
  for (uint64_t block = 1256; block > 1128; --block) tell({.kind = KvEvent::Kind::kEvicted, .hash = block});
  for (const Candidate& candidate : core->consider(third, now).candidates) {
    EXPECT_LE(candidate.cached_tokens, candidate.replica == holder ? 2048U : 0U);
  }
}

TEST_F(RouterCoreTest, explains_and_a_shadow_only_watches) {
  auto options = small_options();
  options.shadow = PolicyOptions{.name = PolicyName::kRoundRobin};
  start(options, 3);
  auto request = sketch(1);
  request.explain = true;
  const auto out = arrive(std::move(request));
  const Decision* decision = core->explain(1);
  ASSERT_NE(decision, nullptr);
  EXPECT_EQ(decision->chosen, out[0].replica);
  ASSERT_EQ(decision->candidates.size(), 3U);
  for (const CostTerms& terms : decision->terms) EXPECT_GT(terms.total, 0);
  for (RequestId id = 2; id < 40; ++id) arrive(sketch(id, 1));
  EXPECT_LT(core->stats().shadow_agreed, core->stats().decisions);
  EXPECT_GT(core->stats().shadow_regret_seconds, 0);
}

TEST_F(RouterCoreTest, models_do_not_wait_for_one_another) {
  auto options = small_options();
  start(options, 1);
  core->add_replica({.name = "other", .models = {"other"}}, now);
  auto request = sketch(1);
  request.model = "other";
  core.reset();
  ids.clear();
  core.emplace(options);
  const ReplicaId id = core->add_replica({.name = "a", .models = {"m"}}, now);
  core->health_checked(id, true, now);
  EXPECT_EQ(kinds(arrive(std::move(request))), std::vector<Kind>{Kind::kHold});
  EXPECT_EQ(kinds(arrive(sketch(2))), std::vector<Kind>{Kind::kDispatch});
}

TEST_F(RouterCoreTest, a_full_queue_answers_at_once) {
  auto options = small_options();
  options.queue.max_requests = 2;
  start(options, 0);
  arrive(sketch(1));
  arrive(sketch(2));
  const auto actions = arrive(sketch(3));
  ASSERT_EQ(kinds(actions), std::vector<Kind>{Kind::kReject});
  EXPECT_EQ(actions[0].status, 429);
  EXPECT_GT(actions[0].retry_after, 0);
  EXPECT_EQ(core->stats().rejected_full, 1U);
}

}  // namespace
}  // namespace sluice::router
