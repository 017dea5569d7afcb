// Random workloads through the real scheduler, bookkeeping and batches, over the simulated runner and a
// virtual clock. After every step the invariants are checked; at the end each request has ended once, with
// the tokens it must have. A failure prints its seed; SLUICE_SEED=n runs that one alone, SLUICE_SEEDS=n so
// many.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>

#include "engine/core.h"
#include "engine/request_check.h"
#include "tests/engine/engine_world.h"
#include "tests/engine/kv_follower.h"

namespace sluice {
namespace {

using testing::expected_answer;
using testing::GatheringSink;

using Random = std::mt19937_64;

int between(Random& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<uint64_t>(high - low + 1));
}
bool chance(Random& random, int percent) {
  return between(random, 1, 100) <= percent;
}
template <class T>
T one_of(Random& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

uint64_t colliding_hash(uint64_t parent, std::span<const int32_t> tokens) {
  return block_hash(parent, tokens) % 5;
}

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    runner_.facts.vocabulary = one_of(random_, {3, 20, 1000});
    runner_.facts.width = 3;
    runner_.facts.block_tokens = 16;
    runner_.facts.max_model_len = between(random_, 40, 400);
    runner_.facts.block_count = between(random_, 3, one_of(random_, {6, 30, 120}));
    runner_.facts.max_sequences = between(random_, 1, 12);
    runner_.facts.max_tokens_per_step = runner_.facts.max_sequences + between(random_, 0, 100);
    runner_.facts.eos_ids = {1};
    runner_.facts.steps_in_flight = between(random_, 1, 2);
    runner_.mean_answer_tokens = one_of(random_, {0, 10, 40});
    runner_.cost = {.step_seconds = 1e-3, .prefill_token_seconds = 1e-4, .decode_sequence_seconds = 2e-4};
    runner_.real_time = false;
    runner_.check_whole_context = true;

    options_.max_model_len = runner_.facts.max_model_len;
    options_.max_num_seqs = runner_.facts.max_sequences;
    options_.max_num_batched_tokens = runner_.facts.max_tokens_per_step;
    options_.max_head_bypass = one_of(random_, {0, 1, 4, 64});
    options_.enable_prefix_caching = chance(random_, 80);
    options_.target_decode_latency_ms = one_of(random_, {0, 3});
    if (chance(random_, 40)) {
      options_.scheduling_policy = "priority";
      options_.priority_aging_ms = one_of(random_, {0, 50});
    }
    auto runner = std::make_unique<SimulatedRunner>(runner_);
    device_ = runner.get();
    hash_ = chance(random_, 25) ? colliding_hash : block_hash;
    core_.emplace(options_, std::move(runner), hash_, seed);
    if (chance(random_, 50)) follow();
    pressure_ = one_of(random_, {5, 40, 100});
  }

  EngineStats run() {
    const int requests = between(random_, 1, 120);
    while (submitted_ < requests || core_->live() > 0) {
      while (submitted_ < requests && chance(random_, pressure_)) submit();
      if (chance(random_, 3)) cancel_someone();
      step();
      if (::testing::Test::HasFatalFailure()) return {};
    }
    check_idle();
    check_answers();
    check_followers();
    EngineStats stats = core_->stats();
    stats.refused = static_cast<uint64_t>(refused_);
    return stats;
  }

 private:
  struct Asked {
    std::vector<int32_t> prompt;
    Request request;
    bool cancelled = false;
    int stripes = 0;
    std::vector<int32_t> before;  // of the answer, generated elsewhere
  };

  std::vector<int32_t> make_prompt() {
    const auto fresh = [&](int count) {
      return testing::random_tokens(random_, count, runner_.facts.vocabulary);
    };
    std::vector<int32_t> prompt;
    if (!asked_.empty() &&
        chance(random_, 60)) {  // begins like an earlier conversation: its prompt and maybe answer
      const auto& [id, earlier] =
          *std::next(asked_.begin(), between(random_, 0, static_cast<int>(asked_.size()) - 1));
      prompt = earlier.prompt;
      if (chance(random_, 50)) {
        const auto answer = sink_->answer(id).tokens;
        prompt.insert(prompt.end(), answer.begin(), answer.end());
      }
      if (chance(random_, 20))
        prompt.resize(static_cast<size_t>(between(random_, 1, static_cast<int>(prompt.size()))));
    }
    if (prompt.empty() || chance(random_, 70)) {
      const auto more = fresh(between(random_, 1, one_of(random_, {5, 50, 300})));
      prompt.insert(prompt.end(), more.begin(), more.end());
    }
    return prompt;
  }

  void submit() {
    ++submitted_;
    Request request = testing::make_request(sink_, ++last_id_, make_prompt(), between(random_, 1, 60));
    request.cache_salt = random_() % 2;
    request.name = "request-" + std::to_string(last_id_);
    request.priority = between(random_, 0, 3);
    request.arrival = now_;
    if (chance(random_, 10)) request.deadline = now_ + std::chrono::milliseconds(between(random_, 0, 200));
    if (chance(random_, 15)) request.pooling = one_of(random_, {Pooling::kLast, Pooling::kMean});
    SamplingParams& sampling = request.sampling;
    sampling.temperature = one_of(random_, {0.0F, 0.7F});
    sampling.seed = random_() % 4;
    sampling.ignore_eos = chance(random_, 20);
    if (chance(random_, 20)) sampling.min_tokens = between(random_, 0, sampling.max_tokens);
    if (chance(random_, 20)) sampling.frequency_penalty = 0.5F;
    if (chance(random_, 30)) sampling.stop_token_ids = {2};
    if (chance(random_, 15)) sampling.prompt_logprobs = 0;
    Asked asked{request.prompt, request};
    if (request.pooling == Pooling::kNone && chance(random_, 25)) {
      asked.stripes = between(random_, 1, 30);
      request.constraint = std::make_shared<testing::StripeConstraint>(runner_.facts, asked.stripes);
    }
    if (request.pooling == Pooling::kNone && asked.stripes == 0 && chance(random_, 20)) {
      request.thinking.tokens = between(random_, 0, 20);
      request.thinking.open = true;
      request.thinking.end_ids =
          testing::random_tokens(random_, between(random_, 1, 3), runner_.facts.vocabulary);
      asked.request.thinking = request.thinking;
    }
    if (request.pooling == Pooling::kNone && chance(random_, 20)) begin_in_the_middle(request, asked);
    if (!check(request, options_, runner_.facts)
             .ok()) {  // too long for the context or the cache: refused at once
      ++refused_;
      return;
    }
    asked_.emplace(last_id_, std::move(asked));
    core_->add(last_id_, std::move(request));
  }

  // As after another engine broke off: with a part of the very answer.
  void begin_in_the_middle(Request& request, Asked& asked) {
    asked.before =
        expected_answer(runner_, asked.prompt, request.sampling, asked.stripes, request.thinking).tokens;
    asked.before.resize(static_cast<size_t>(between(random_, 0, static_cast<int>(asked.before.size()) - 1)));
    request.prompt.insert(request.prompt.end(), asked.before.begin(), asked.before.end());
    request.generated_before = static_cast<int32_t>(asked.before.size());
  }

  void cancel_someone() {
    if (asked_.empty()) return;
    auto& [id, asked] = *std::next(asked_.begin(), between(random_, 0, static_cast<int>(asked_.size()) - 1));
    if (core_->end(id, FinishReason::kCancelled, now_)) asked.cancelled = true;
  }

  void step() {
    const auto first = first_in_rank();
    const int before = first != nullptr ? work_done(*first) : 0;
    const RequestId first_id = first != nullptr ? first->id : 0;
    const bool was_running = first != nullptr && first->state == Sequence::State::kRunning;
    if (core_->launch(now_)) {
      core_->wait();
      now_ += std::chrono::duration_cast<Clock::duration>(
          std::chrono::duration<double>(device_->last_step_seconds()));
      core_->complete(now_, device_->last_step_seconds());
      ASSERT_GE(core_->step_tokens(), 1);
      ASSERT_LE(core_->step_tokens(), options_.max_num_batched_tokens);
    } else {
      ASSERT_EQ(core_->live(), 0);
      now_ += std::chrono::milliseconds(1);
    }
    core_->publish(now_);
    check_invariants();
    follow_events();
    // The first in rank never stands still once it runs, and runs within a bounded time: nobody starves.
    const Sequence* same = first_in_rank();
    if (same == nullptr || same->id != first_id) {
      waiting_steps_ = 0;
    } else if (was_running) {
      ASSERT_EQ(same->state, Sequence::State::kRunning);
      // A step may be lost to it: that which went on with a token that became another.
      standing_still_ = work_done(*same) > before ? 0 : standing_still_ + 1;
      ASSERT_LT(standing_still_, runner_.facts.steps_in_flight);
    } else if (same->state == Sequence::State::kWaiting) {
      const int bound = 4 * (options_.max_num_seqs + options_.max_head_bypass + 1) * options_.max_model_len;
      ASSERT_LT(++waiting_steps_, bound);
    }
  }

  // ---- those who read events ----

  void follow() {
    followers_.push_back(std::make_unique<testing::KvFollower>(hash_ == block_hash));
    followers_.back()->open(core_->events(),
                            [this](auto cursor) { core_->attach_reader(std::move(cursor)); });
    followed_from_start_ = followed_from_start_ || asked_.empty();
  }

  // They come at any time and read at their own pace.
  void follow_events() {
    if (followers_.size() < 4 && chance(random_, 2)) follow();
    if (!followers_.empty() && chance(random_, 1)) followers_.erase(followers_.begin() + 1, followers_.end());
    for (const auto& follower : followers_) {
      if (!chance(random_, 60)) continue;
      const bool caught_up = follower->read();
      if (!caught_up || !follower->whole()) continue;
      EXPECT_EQ(follower->blocks(), testing::held_blocks(core_->scheduler()));
    }
  }

  void check_followers() {
    for (const auto& follower : followers_) {
      for (int i = 0; i < 10000 && !(follower->read() && follower->whole()); ++i) core_->publish(now_);
      EXPECT_TRUE(follower->whole());
      EXPECT_EQ(follower->blocks(), testing::held_blocks(core_->scheduler()));
    }
    if (!followed_from_start_ || followers_.empty()) return;
    for (const auto& [id, asked] : asked_)
      check_life(id, asked, followers_.front()->life(asked.request.name));
  }

  void check_life(uint64_t id, const Asked& asked, const testing::KvFollower::Life& life) {
    SCOPED_TRACE(::testing::Message() << "request " << id);
    const auto answer = sink_->answer(id);
    EXPECT_EQ(life.finished, 1);
    EXPECT_EQ(life.last.reason, answer.last.finish_reason);
    EXPECT_EQ(life.last.generated, answer.last.completion_tokens);
    EXPECT_EQ(life.prefilled, answer.tokens.empty() ? 0 : 1);
    EXPECT_EQ(life.admitted, answer.last.first_scheduled == Clock::time_point() ? 0 : 1);
    if (life.admitted == 0) return;
    auto prompt = asked.prompt;
    EXPECT_EQ(std::min(life.first.cached_tokens, static_cast<int32_t>(prompt.size())),
              answer.last.cached_tokens);
    prompt.insert(prompt.end(), asked.before.begin(), asked.before.end());
    EXPECT_EQ(life.first.prompt_tokens, static_cast<int32_t>(prompt.size()));
    uint64_t hash = PrefixCache::start(asked.request.cache_salt).hash;
    const size_t B = 16, blocks = options_.enable_prefix_caching ? prompt.size() / B : 0;
    for (size_t i = 0; i < blocks; ++i) hash = hash_(hash, std::span(prompt).subspan(i * B, B));
    EXPECT_EQ(life.first.prompt_blocks, static_cast<int32_t>(blocks));
    EXPECT_EQ(life.first.hash, blocks == 0 ? 0 : hash);
  }

  static int work_done(const Sequence& s) { return s.computed + s.generated(); }

  const Sequence* first_in_rank() const {
    const Sequence* first = nullptr;
    core_->for_each_live([&](const Sequence& s) {
      if (first == nullptr || s.rank < first->rank) first = &s;
    });
    return first;
  }

  void check_invariants() {
    const Scheduler& scheduler = core_->scheduler();
    const BlockPool& pool = scheduler.pool();
    const auto blocks = static_cast<size_t>(pool.block_count());
    std::vector<int> users(blocks, 0);
    int64_t running = 0, waiting = 0;
    const int B = runner_.facts.block_tokens;
    core_->for_each_live([&](const Sequence& s) {
      for (const int32_t block : s.blocks) ++users[static_cast<size_t>(block)];
      EXPECT_LT(s.pending, runner_.facts.steps_in_flight);
      EXPECT_LE(s.computed, s.length());
      EXPECT_LE(s.chain.depth * B, std::min(s.computed, s.length()));
      if (s.state == Sequence::State::kRunning) {
        ++running;
        EXPECT_GE(static_cast<int>(s.blocks.size()) * B, s.computed);
        EXPECT_LE(static_cast<int>(s.blocks.size()), (s.length() + s.pending + B - 1) / B);
      } else {
        ++waiting;
        EXPECT_TRUE(s.blocks.empty());
        EXPECT_EQ(s.computed, 0);
      }
      EXPECT_LE(s.generated(), s.request.sampling.max_tokens);
      EXPECT_LT(s.cached_tokens, s.prompt_length + s.request.generated_before);
    });
    int64_t used = 0, cached_free = 0, cached = 0;
    for (size_t b = 0; b < blocks; ++b) {
      const auto block = static_cast<int32_t>(b);
      ASSERT_EQ(pool.references(block), users[b]) << "block " << b;
      ASSERT_EQ(pool.cached(block), scheduler.cache().holds(block)) << "block " << b;
      used += users[b] > 0 ? 1 : 0;
      cached += pool.cached(block) ? 1 : 0;
      cached_free += users[b] == 0 && pool.cached(block) ? 1 : 0;
    }
    ASSERT_EQ(pool.used_count(), used);
    ASSERT_EQ(pool.free_count(), pool.block_count() - used);
    ASSERT_EQ(pool.cached_free_count(), cached_free);
    ASSERT_EQ(scheduler.cache().size(), cached);
    ASSERT_EQ(static_cast<int64_t>(scheduler.running().size()), running);
    ASSERT_EQ(scheduler.waiting_count(), waiting);
    ASSERT_LE(running, options_.max_num_seqs);
    ASSERT_TRUE(std::ranges::is_sorted(scheduler.running(), {}, [](const Sequence* s) { return s->rank; }));
    if (::testing::Test::HasNonfatalFailure()) FAIL() << "a sequence's own invariants";
  }

  void check_idle() {
    const EngineStats stats = core_->stats();
    EXPECT_EQ(stats.running + stats.waiting, 0);
    EXPECT_EQ(stats.waiting_prompt_tokens, 0);
    EXPECT_EQ(stats.kv_blocks_used, 0);
    uint64_t finished = 0;
    for (const uint64_t count : stats.finished) finished += count;
    EXPECT_EQ(finished, asked_.size());
  }

  static void check_prompt_logprobs(uint64_t id, const Asked& asked, const GatheringSink::Answer& answer) {
    const bool wanted = asked.request.sampling.prompt_logprobs >= 0;
    ASSERT_EQ(answer.prompt_logprobs.size(), wanted ? asked.prompt.size() - 1 : 0) << "request " << id;
    for (size_t i = 0; i < answer.prompt_logprobs.size(); ++i) {
      const SampledToken& token = answer.prompt_logprobs[i];
      ASSERT_EQ(token.id, asked.prompt[i + 1]) << "request " << id;
      ASSERT_EQ(token.logprob,
                SimulatedRunner::expected_logprob(std::span(asked.prompt).first(i + 1), token.id))
          << "request " << id;
    }
  }

  void check_answers() {
    const auto answers = sink_->answers();
    for (const auto& [id, asked] : asked_) {
      const auto found = answers.find(id);
      ASSERT_NE(found, answers.end()) << "request " << id << " was never answered";
      const auto& answer = found->second;
      ASSERT_EQ(answer.finals, 1) << "request " << id;
      ASSERT_EQ(answer.events_after_final, 0) << "request " << id;
      if (asked.request.pooling != Pooling::kNone) {
        check_embedding(id, asked, answer);
        continue;
      }
      if (!answer.tokens.empty()) check_prompt_logprobs(id, asked, answer);
      auto expected = expected_answer(runner_, asked.prompt, asked.request.sampling, asked.stripes,
                                      asked.request.thinking);
      const auto before = static_cast<std::ptrdiff_t>(asked.before.size());
      expected.tokens.erase(expected.tokens.begin(), expected.tokens.begin() + before);
      const FinishReason reason = answer.last.finish_reason;
      ASSERT_EQ(reason == FinishReason::kCancelled, asked.cancelled);
      ASSERT_EQ(answer.last.completion_tokens, static_cast<int>(asked.before.size() + answer.tokens.size()));
      ASSERT_EQ(answer.last.prompt_tokens, static_cast<int>(asked.prompt.size()));
      if (reason == FinishReason::kCancelled || reason == FinishReason::kDeadline) {
        ASSERT_LE(answer.tokens.size(), expected.tokens.size());
        ASSERT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), expected.tokens.begin()))
            << "request " << id;
        if (reason == FinishReason::kDeadline) {
          ASSERT_LE(asked.request.deadline, answer.last.finished);
        }
      } else {
        ASSERT_EQ(answer.tokens, expected.tokens) << "request " << id;
        ASSERT_EQ(reason, expected.reason) << "request " << id;
      }
    }
  }

  void check_embedding(RequestId id, const Asked& asked, const GatheringSink::Answer& answer) {
    const FinishReason reason = answer.last.finish_reason;
    ASSERT_EQ(reason == FinishReason::kCancelled, asked.cancelled);
    ASSERT_TRUE(answer.tokens.empty());
    if (reason == FinishReason::kCancelled || reason == FinishReason::kDeadline) {
      ASSERT_TRUE(answer.last.embedding.empty());
      return;
    }
    ASSERT_EQ(reason, FinishReason::kStop);
    ASSERT_EQ(answer.last.embedding,
              testing::expected_embedding(runner_, asked.prompt, asked.request.pooling))
        << "request " << id;
  }

  Random random_;
  SimulatedRunnerOptions runner_;
  EngineOptions options_;
  SimulatedRunner* device_ = nullptr;
  std::optional<EngineCore> core_;
  BlockHash hash_ = block_hash;
  std::vector<std::unique_ptr<testing::KvFollower>> followers_;
  bool followed_from_start_ = false;
  std::shared_ptr<GatheringSink> sink_ = std::make_shared<GatheringSink>();
  std::map<uint64_t, Asked> asked_;
  Clock::time_point now_{std::chrono::hours(1)};
  int pressure_ = 50;
  int submitted_ = 0, refused_ = 0, waiting_steps_ = 0, standing_still_ = 0;
  RequestId last_id_ = 0;
};

int environment_number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : otherwise;
}

TEST(EngineSimulation, keeps_its_books_and_answers_exactly_under_any_workload) {
  const int only = environment_number("SLUICE_SEED", -1);
  const int seeds = environment_number("SLUICE_SEEDS", 1000);
  uint64_t steps = 0, preemptions = 0, hits = 0, refused = 0;
  std::array<uint64_t, 6> finished{};
  for (int seed = only >= 0 ? only : 0; seed < (only >= 0 ? only + 1 : seeds); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const EngineStats stats = Simulation(static_cast<uint64_t>(seed)).run();
    if (HasFailure()) FAIL() << "seed " << seed << "; SLUICE_SEED=" << seed << " runs it alone";
    steps += stats.steps;
    preemptions += stats.preemptions;
    hits += stats.prefix_cache_hits;
    refused += stats.refused;
    for (size_t i = 0; i < finished.size(); ++i) finished[i] += stats.finished[i];
  }
  std::printf(
      "%lu steps, %lu preemptions, %lu prompt tokens found, %lu refused; ended: %lu stop, %lu length, "
      "%lu cancelled, %lu deadline\n",
      steps, preemptions, hits, refused, finished[1], finished[2], finished[3], finished[4]);
  if (only >= 0 || seeds < 100) return;
  // The workloads reach what they are meant to reach.
  for (const uint64_t count :
       {preemptions, hits, refused, finished[1], finished[2], finished[3], finished[4]}) {
    EXPECT_GT(count, 100U);
  }
}

}  // namespace
}  // namespace sluice
