#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

namespace sluice {
namespace {

constexpr int kAllTokens = 1 << 20;  // no latency target

// A scheduler with small blocks, its sequences, and one token appended after each step that samples.
struct World {
  explicit World(SchedulerOptions options) : scheduler(options) {}

  Sequence& add(std::vector<int32_t> prompt, int max_tokens = 100, int priority = 0, uint64_t salt = 0) {
    auto s = std::make_unique<Sequence>();
    s->id = sequences.size() + 1;
    s->tokens = std::move(prompt);
    s->prompt_length = s->length();
    s->request.sampling.max_tokens = max_tokens;
    s->request.priority = priority;
    s->request.cache_salt = salt;
    s->request.arrival = arrival;
    scheduler.add(*s);
    sequences.push_back(std::move(s));
    return *sequences.back();
  }

  // Tokens of each sequence in the step, by id.
  std::map<RequestId, int> step(int prefill_limit = kAllTokens) {
    std::map<RequestId, int> counts;
    std::vector<Sequence*> sampled;
    for (const PlanItem& item : scheduler.plan(prefill_limit).items) {
      counts[item.sequence->id] = item.count;
      if (item.samples) sampled.push_back(item.sequence);
    }
    scheduler.complete();
    for (Sequence* s : sampled) learn(*s);
    return counts;
  }

  // The next step while the tokens of the one before are not known yet, though on the device: its tokens of
  // each sequence.
  std::map<RequestId, int> step_ahead() {
    std::map<RequestId, int> counts;
    for (const PlanItem& item : scheduler.plan(kAllTokens).items) counts[item.sequence->id] = item.count;
    scheduler.complete();
    return counts;
  }
  void learn(Sequence& s) {
    s.tokens.push_back(next_token);
    scheduler.token_known(s);
  }

  std::vector<RequestId> running() const {
    std::vector<RequestId> ids;
    for (const Sequence* s : scheduler.running()) ids.push_back(s->id);
    return ids;
  }

  Scheduler scheduler;
  std::vector<std::unique_ptr<Sequence>> sequences;
  Clock::time_point arrival;
  int32_t next_token = 9;
};

SchedulerOptions small(int64_t blocks) {
  return {.block_count = blocks,
          .block_tokens = 4,
          .max_running = 8,
          .budget_tokens = 16,
          .prefix_caching = false};
}

std::vector<int32_t> tokens(int count, int first = 0) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

using Counts = std::map<RequestId, int>;
using Ids = std::vector<RequestId>;

TEST(Scheduler, cuts_a_prompt_into_chunks_of_the_budget) {
  World world(small(100));
  world.add(tokens(40));
  EXPECT_EQ(world.step(), (Counts{{1, 16}}));
  EXPECT_EQ(world.step(), (Counts{{1, 16}}));
  EXPECT_EQ(world.step(), (Counts{{1, 8}}));
  EXPECT_EQ(world.step(), (Counts{{1, 1}}));
}

TEST(Scheduler, a_long_prompt_does_not_stop_those_that_decode) {
  World world(small(100));
  world.add(tokens(3));
  world.step();
  world.add(tokens(40));
  EXPECT_EQ(world.step(), (Counts{{1, 1}, {2, 15}}));
  EXPECT_EQ(world.step(), (Counts{{1, 1}, {2, 15}}));
}

TEST(Scheduler, the_latency_limit_bounds_prompts_only_beside_decodes) {
  World world(small(100));
  world.add(tokens(40));
  EXPECT_EQ(world.step(4), (Counts{{1, 16}}));
  world.add(tokens(3));
  world.step();  // 1: 16
  world.step();  // 1: 8, 2: 3
  world.add(tokens(40));
  EXPECT_EQ(world.step(4), (Counts{{1, 1}, {2, 1}, {3, 4}}));
}

TEST(Scheduler, goes_on_with_a_token_that_is_not_known_yet) {
  World world(small(100));
  world.add(tokens(3), 3);
  Sequence& s = *world.sequences[0];
  EXPECT_EQ(world.step_ahead(), (Counts{{1, 3}}));
  EXPECT_EQ(s.pending, 1);
  EXPECT_EQ(world.step_ahead(), (Counts{{1, 1}}));
  EXPECT_EQ(s.pending, 2);
  EXPECT_EQ(s.computed, 4);
  world.learn(s);
  EXPECT_EQ(world.step_ahead(), (Counts{{1, 1}}));
  world.learn(s);
  EXPECT_EQ(world.step_ahead(), (Counts{}));  // what is pending is its third and last
  world.learn(s);
  EXPECT_EQ(s.pending, 0);
  EXPECT_EQ(s.generated(), 3);
}

TEST(Scheduler, computes_a_token_anew_that_became_another) {
  World world(small(100));
  world.add(tokens(3), 9);
  Sequence& s = *world.sequences[0];
  world.step_ahead();
  world.step_ahead();
  s.tokens.push_back(7);
  world.scheduler.token_known(s, false);
  EXPECT_EQ(s.pending, 0);
  EXPECT_EQ(s.computed, 3);
  EXPECT_EQ(world.step(), (Counts{{1, 1}}));
  EXPECT_EQ(s.computed, 4);
}

TEST(Scheduler, finds_a_block_only_when_all_its_tokens_are_known) {
  SchedulerOptions options = small(100);
  options.prefix_caching = true;
  World world(options);
  world.add(tokens(3), 9);
  Sequence& s = *world.sequences[0];
  world.step_ahead();
  world.step_ahead();  // computes the fourth token, which fills the block
  EXPECT_EQ(world.scheduler.cache().size(), 0);
  world.learn(s);
  EXPECT_EQ(world.scheduler.cache().size(), 1);
  EXPECT_EQ(s.chain.depth, 1);
}

TEST(Scheduler, takes_a_preempted_sequence_back_when_its_token_is_known) {
  World world(small(4));  // 16 tokens
  world.add(tokens(4), 12);
  world.step();
  world.add(tokens(4), 12);
  world.step();
  Sequence& victim = *world.sequences[1];
  while (victim.state == Sequence::State::kRunning) {
    world.step_ahead();
    for (auto& s : world.sequences) {
      if (s->pending > 0) world.learn(*s);
    }
  }
  EXPECT_EQ(world.scheduler.counts().preemptions, 1U);
  EXPECT_EQ(victim.computed, 0);
  EXPECT_EQ(victim.pending, 0);
  world.scheduler.remove(*world.sequences[0]);
  victim.pending = 1;
  EXPECT_EQ(world.step_ahead(), (Counts{}));
  world.learn(victim);
  EXPECT_EQ(world.step_ahead(), (Counts{{2, victim.length()}}));
}

TEST(Scheduler, preempts_youngest_when_blocks_run_out) {
  World world(small(4));  // 16 tokens
  world.add(tokens(4), 12);
  world.step();  // alone: no reserve is asked of it
  world.add(tokens(4), 12);
  world.step();
  ASSERT_EQ(world.running(), (Ids{1, 2}));
  while (world.scheduler.counts().preemptions == 0) world.step();
  EXPECT_EQ(world.running(), (Ids{1}));
  const Sequence& victim = *world.sequences[1];
  EXPECT_EQ(victim.state, Sequence::State::kWaiting);
  EXPECT_GT(victim.generated(), 0);  // keeps its tokens
  EXPECT_TRUE(victim.blocks.empty());
}

TEST(Scheduler, a_preempted_sequence_goes_before_younger_ones_and_recomputes_its_own_tokens) {
  World world(small(4));
  Sequence& first = world.add(tokens(4), 12);
  world.step();
  Sequence& victim = world.add(tokens(4), 12);
  world.step();
  while (world.scheduler.counts().preemptions == 0) world.step();
  world.add(tokens(4), 4);
  const int length = victim.length();
  world.scheduler.remove(first);
  const Counts counts = world.step();
  EXPECT_EQ(counts.at(victim.id), length);
  EXPECT_EQ(world.running().front(), victim.id);
}

TEST(Scheduler, smaller_requests_pass_a_big_one_a_bounded_number_of_times) {
  auto options = small(8);
  options.max_head_bypass = 2;
  World world(options);
  Sequence& holder = world.add(tokens(13), 2);  // 4 of 8 blocks
  world.step();
  Sequence& big = world.add(tokens(24), 2);  // 6 blocks
  for (int i = 0; i < 4; ++i) world.add(tokens(1), 1);
  world.step();
  EXPECT_EQ(big.state, Sequence::State::kWaiting);
  EXPECT_EQ(world.running(), (Ids{1, 3, 4}));
  world.scheduler.remove(*world.sequences[2]);
  world.scheduler.remove(*world.sequences[3]);
  world.step();
  EXPECT_EQ(world.running(), (Ids{1}));  // room for 5 and 6, but the big one has been passed twice
  world.scheduler.remove(holder);
  world.step();
  EXPECT_EQ(world.running().front(), big.id);
}

TEST(Scheduler, equal_prompts_that_arrive_together_are_computed_once) {
  auto options = small(100);
  options.prefix_caching = true;
  World world(options);
  world.add(tokens(10));
  world.add(tokens(10));
  world.add(tokens(10), 100, 0, 7);  // another salt shares nothing
  EXPECT_EQ(world.step(), (Counts{{1, 10}, {2, 2}, {3, 4}}));
  EXPECT_EQ(world.sequences[1]->cached_tokens, 8);
  EXPECT_EQ(world.sequences[0]->blocks[1], world.sequences[1]->blocks[1]);
  EXPECT_NE(world.sequences[0]->blocks[2], world.sequences[1]->blocks[2]);
  EXPECT_EQ(world.sequences[2]->cached_tokens, 0);
}

TEST(Scheduler, at_least_the_last_token_of_a_prompt_is_computed) {
  auto options = small(100);
  options.prefix_caching = true;
  World world(options);
  world.add(tokens(8));
  world.step();
  world.add(tokens(8));
  EXPECT_EQ(world.step().at(2), 4);  // the second block again, for its last token
}

TEST(Scheduler, equal_blocks_computed_side_by_side_become_one) {
  auto options = small(100);
  options.prefix_caching = true;
  World world(options);
  Sequence& a = world.add(tokens(8));
  Sequence& b = world.add(tokens(8));
  world.step();
  EXPECT_EQ(a.blocks[1], b.blocks[1]);  // of the prompt
  for (int i = 0; i < 8; ++i) world.step();
  EXPECT_EQ(a.blocks[2], b.blocks[2]);  // of the answers, which are equal here
  EXPECT_EQ(world.scheduler.pool().references(a.blocks[2]), 2);
}

TEST(Scheduler, the_next_turn_of_a_conversation_finds_prompt_and_answer) {
  auto options = small(100);
  options.prefix_caching = true;
  World world(options);
  Sequence& turn = world.add(tokens(6), 8);
  for (int i = 0; i < 7; ++i) world.step();
  std::vector<int32_t> next = turn.tokens;  // 6 + 7, of which 12 are computed
  world.scheduler.remove(turn);
  next.insert(next.end(), {50, 51, 52});
  Sequence& second = world.add(next);
  world.step();
  EXPECT_EQ(second.cached_tokens, 12);
}

TEST(Scheduler, gives_up_the_deepest_block_of_an_unused_prefix_first) {
  auto options = small(5);
  options.prefix_caching = true;
  World world(options);
  Sequence& first = world.add(tokens(16), 4);
  world.step();
  world.scheduler.remove(first);                   // 4 cached blocks, 1 without content
  Sequence& other = world.add(tokens(8, 100), 1);  // takes the plain one and the deepest
  world.step();
  world.scheduler.remove(other);
  Sequence& again = world.add(tokens(16), 1);
  world.step();
  EXPECT_EQ(again.cached_tokens, 12);
}

TEST(Scheduler, serves_lower_priority_numbers_first) {
  auto options = small(100);
  options.by_priority = true;
  options.max_running = 1;
  World world(options);
  world.add(tokens(4), 100, 5);
  world.add(tokens(4), 100, 1);
  world.add(tokens(4), 100, 5);
  world.step();
  EXPECT_EQ(world.running(), (Ids{2}));
  world.scheduler.remove(*world.sequences[1]);
  world.step();
  EXPECT_EQ(world.running(), (Ids{1}));
}

TEST(Scheduler, long_waiting_is_worth_a_level_of_priority_when_aging_is_on) {
  for (const auto& [later_ms, first] : {std::pair{1500, RequestId{1}}, std::pair{500, RequestId{2}}}) {
    auto options = small(100);
    options.by_priority = true;
    options.priority_aging_ms = 1000;
    options.max_running = 1;
    World world(options);
    world.add(tokens(4), 100, 2);
    world.arrival += std::chrono::milliseconds(later_ms);
    world.add(tokens(4), 100, 1);
    world.step();
    EXPECT_EQ(world.running(), (Ids{first})) << later_ms;
  }
}

TEST(Scheduler, names_those_whose_deadline_has_come_waiting_or_running) {
  auto options = small(100);
  options.max_running = 1;
  World world(options);
  const Clock::time_point start;
  std::vector<Sequence*> expired;
  for (int i = 0; i < 3; ++i) {
    auto s = std::make_unique<Sequence>();
    s->id = static_cast<RequestId>(i + 1);
    s->tokens = tokens(4);
    s->prompt_length = 4;
    s->request.sampling.max_tokens = 4;
    s->request.deadline = start + std::chrono::seconds(3 - i);
    world.scheduler.add(*s);
    world.sequences.push_back(std::move(s));
  }
  world.step();
  world.scheduler.expired(start, expired);
  EXPECT_TRUE(expired.empty());
  world.scheduler.expired(start + std::chrono::seconds(2), expired);
  EXPECT_EQ(expired, (std::vector<Sequence*>{world.sequences[2].get(), world.sequences[1].get()}));
  for (Sequence* s : expired) world.scheduler.remove(*s);
  world.scheduler.expired(start + std::chrono::seconds(9), expired);
  EXPECT_EQ(expired, (std::vector<Sequence*>{world.sequences[0].get()}));
}

}  // namespace
}  // namespace sluice
