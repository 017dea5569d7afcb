// The loop and its two crossings: many threads submit, cancel, leave; each request ends exactly once.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <latch>
#include <thread>

#include "tests/engine/engine_world.h"

namespace sluice {
namespace {

using testing::expected_answer;
using testing::GatheringSink;
using testing::make_request;
using testing::options_for;
using testing::random_tokens;
using testing::small_runner;
using testing::start_engine;
using testing::wait_until_idle;

// Each step waits until the test lets it go.
class GatedRunner : public ModelRunner {
 public:
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    int open_steps = 0;  // that may still end
    int launched = 0;

    void let(int steps) {
      {
        std::lock_guard lock(mutex);
        open_steps += steps;
      }
      changed.notify_all();
    }
    void wait_for_launch(int count) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return launched >= count; });
    }
  };

  GatedRunner(const SimulatedRunnerOptions& options, std::shared_ptr<Gate> gate)
      : inner_(options), gate_(std::move(gate)) {}
  const RunnerFacts& facts() const override { return inner_.facts(); }
  void sample(std::span<const SamplingRow> rows) override { inner_.sample(rows); }
  void launch(const StepBatch& batch) override {
    inner_.launch(batch);
    std::lock_guard lock(gate_->mutex);
    ++gate_->launched;
    gate_->changed.notify_all();
  }
  std::span<const float> hidden() const override { return inner_.hidden(); }
  std::span<const SampledToken> collect() override {
    std::unique_lock lock(gate_->mutex);
    gate_->changed.wait(lock, [&] { return gate_->open_steps > 0; });
    --gate_->open_steps;
    return inner_.collect();
  }

 private:
  SimulatedRunner inner_;
  std::shared_ptr<Gate> gate_;
};

struct GatedEngine {
  explicit GatedEngine(EngineOptions options = options_for(small_runner())) {
    auto started = Engine::start(options, std::make_unique<GatedRunner>(small_runner(), gate));
    EXPECT_TRUE(started.ok());
    engine = std::move(started).value();
  }
  ~GatedEngine() { gate->let(1 << 20); }

  std::shared_ptr<GatedRunner::Gate> gate = std::make_shared<GatedRunner::Gate>();
  std::shared_ptr<GatheringSink> sink = std::make_shared<GatheringSink>();
  std::unique_ptr<Engine> engine;
};

constexpr int kEver = 1 << 20;

TEST(Engine, answers_each_of_many_requests_as_if_it_were_alone) {
  const auto runner = small_runner();
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  std::mt19937_64 random(7);
  constexpr int kRequests = 64;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<RequestHandle> handles;
  for (int i = 0; i < kRequests; ++i) {
    prompts.push_back(random_tokens(random, 1 + static_cast<int>(random() % 300), 1000));
    auto handle = engine->submit(make_request(sink, static_cast<uint64_t>(i), prompts.back(), 40));
    ASSERT_TRUE(handle.ok()) << handle.error().message;
    handles.push_back(std::move(handle).value());
  }
  sink->wait_for_finals(kRequests);
  for (int i = 0; i < kRequests; ++i) {
    const auto answer = sink->answer(static_cast<uint64_t>(i));
    SamplingParams sampling;
    sampling.max_tokens = 40;
    sampling.temperature = 0;
    EXPECT_EQ(answer.tokens, expected_answer(runner, prompts[static_cast<size_t>(i)], sampling).tokens)
        << "request " << i;
    EXPECT_EQ(answer.finals, 1);
    EXPECT_EQ(answer.last.finish_reason, FinishReason::kLength);
    EXPECT_EQ(answer.last.completion_tokens, 40);
    EXPECT_LE(answer.last.first_scheduled, answer.last.first_token);
    EXPECT_LE(answer.last.first_token, answer.last.finished);
  }
  wait_until_idle(*engine);
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
  EXPECT_EQ(engine->stats().finished[static_cast<size_t>(FinishReason::kLength)], uint64_t{kRequests});
}

TEST(Engine, ends_at_eos_unless_told_to_ignore_it) {
  auto runner = small_runner();
  runner.mean_answer_tokens = 5;
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  auto stops = engine->submit(make_request(sink, 1, {1, 2, 3}, 200));
  auto request = make_request(sink, 2, {1, 2, 3}, 200);
  request.sampling.ignore_eos = true;
  auto ignores = engine->submit(std::move(request));
  ASSERT_TRUE(stops.ok() && ignores.ok());
  sink->wait_for_finals(2);
  EXPECT_EQ(sink->answer(1).last.finish_reason, FinishReason::kStop);
  EXPECT_EQ(sink->answer(1).last.stop_token, 2);
  EXPECT_EQ(sink->answer(1).tokens.back(), 2);
  EXPECT_EQ(sink->answer(2).last.finish_reason, FinishReason::kLength);
  EXPECT_EQ(sink->answer(2).tokens.size(), 200U);
}

TEST(Engine, goes_on_within_thoughts_as_the_unbroken_answer_does) {
  auto runner = small_runner();
  runner.facts.vocabulary = 12;  // so that marks are drawn
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  std::vector<RequestHandle> handles;
  int finals = 0;
  const auto answer_of = [&](uint64_t seed, const std::vector<int32_t>& before) {
    const auto tag = static_cast<uint64_t>(++finals);
    Request request = make_request(sink, tag, {3, 4, 5}, 30);
    request.prompt.insert(request.prompt.end(), before.begin(), before.end());
    request.generated_before = static_cast<int32_t>(before.size());
    request.sampling.temperature = 1;
    request.sampling.seed = seed;
    request.thinking = {.tokens = 5, .open = seed % 2 == 0, .begin_ids = {7}, .end_ids = {8, 9, 10}};
    handles.push_back(engine->submit(std::move(request)).value());
    sink->wait_for_finals(finals);
    return sink->answer(tag).tokens;
  };
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const auto whole = answer_of(seed, {});
    for (size_t cut = 1; cut < whole.size(); ++cut) {
      std::vector<int32_t> joined(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
      const auto rest = answer_of(seed, joined);
      joined.insert(joined.end(), rest.begin(), rest.end());
      ASSERT_EQ(joined, whole) << "seed " << seed << ", cut after " << cut;
    }
  }
}

TEST(Engine, refuses_what_it_cannot_serve_and_says_why) {
  auto runner = small_runner();
  runner.facts.block_count = 32;  // 512 tokens, of a context of 1024
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  const auto refusal = [&](auto change) {
    Request request = make_request(sink, 1, {1, 2, 3}, 10);
    change(request);
    auto handle = engine->submit(std::move(request));
    EXPECT_FALSE(handle.ok());
    return handle.ok() ? Error{} : handle.error();
  };
  const auto expect = [&](auto change, ErrorCode code, const std::string& param, const std::string& words) {
    const Error error = refusal(change);
    EXPECT_EQ(error.code, code) << error.message;
    EXPECT_EQ(error.param, param) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
  };
  constexpr auto kInvalid = ErrorCode::kInvalidArgument;
  constexpr auto kLength = ErrorCode::kContextLength;
  expect([](Request& r) { r.prompt.clear(); }, kInvalid, "prompt", "empty");
  expect([](Request& r) { r.prompt = {1, 1000}; }, kInvalid, "prompt", "1000");
  expect([](Request& r) { r.prompt = {-1}; }, kInvalid, "prompt", "-1");
  expect([](Request& r) { r.prompt.assign(1024, 1); }, kLength, "prompt", "1024 tokens");
  expect([](Request& r) { r.prompt.assign(1000, 1), r.sampling.max_tokens = 25; }, kLength, "max_tokens",
         "1000 in the prompt, 25 for the answer");
  expect([](Request& r) { r.sampling.max_tokens = 0x7fffffff; }, kLength, "max_tokens", "2147483650");
  expect([](Request& r) { r.prompt.assign(500, 1), r.sampling.max_tokens = 14; }, kInvalid, "max_tokens",
         "512 tokens");
  expect([](Request& r) { r.sampling.max_tokens = 0; }, kInvalid, "max_tokens", "at least 1");
  expect([](Request& r) { r.sampling.temperature = -1; }, kInvalid, "temperature", "-1");
  expect([](Request& r) { r.sampling.temperature = NAN; }, kInvalid, "temperature", "nan");
  expect([](Request& r) { r.sampling.top_p = 0; }, kInvalid, "top_p", "above 0");
  expect([](Request& r) { r.sampling.min_p = 1.5F; }, kInvalid, "min_p", "1.5");
  expect([](Request& r) { r.sampling.repetition_penalty = 0; }, kInvalid, "repetition_penalty", "0");
  expect([](Request& r) { r.sampling.frequency_penalty = INFINITY; }, kInvalid, "frequency_penalty", "inf");
  expect([](Request& r) { r.sampling.min_tokens = 11; }, kInvalid, "min_tokens", "11");
  expect([](Request& r) { r.sampling.logprobs = 1001; }, kInvalid, "logprobs", "1001");
  expect([](Request& r) { r.sampling.stop_token_ids = {1000}; }, kInvalid, "stop_token_ids", "1000");
  expect([](Request& r) { r.sampling.logit_bias = {{5, NAN}}; }, kInvalid, "logit_bias", "nan");
  expect([](Request& r) { r.sampling.logit_bias = {{-5, 1}}; }, kInvalid, "logit_bias", "-5");
  // The largest that fits is served.
  auto fits = engine->submit(make_request(sink, 2, std::vector<int32_t>(500, 1), 13));
  ASSERT_TRUE(fits.ok()) << fits.error().message;
  sink->wait_for_finals(1);
  EXPECT_EQ(sink->answer(2).tokens.size(), 13U);
}

TEST(Engine, refuses_options_that_contradict_the_runner) {
  const auto attempt = [](auto change) {
    EngineOptions options = options_for(small_runner());
    change(options);
    auto engine = Engine::start(options, std::make_unique<SimulatedRunner>(small_runner()));
    return engine.ok() ? std::string("started") : engine.error().message;
  };
  using ::testing::HasSubstr;
  EXPECT_EQ(attempt([](EngineOptions&) {}), "started");
  EXPECT_THAT(attempt([](EngineOptions& o) { o.max_num_seqs = 0; }), HasSubstr("--max-num-seqs is 0"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.max_num_seqs = 17; }), HasSubstr("at most 16"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.max_num_batched_tokens = 8; }),
              HasSubstr("at least --max-num-seqs"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.max_model_len = 1025; }), HasSubstr("at most 1024"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.block_size = 17; }), HasSubstr("multiple of 16"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.block_size = 32; }), HasSubstr("hold 16 tokens"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.scheduling_policy = "lifo"; }), HasSubstr("fcfs or priority"));
  EXPECT_THAT(attempt([](EngineOptions& o) { o.gpu_memory_utilization = 1.5; }), HasSubstr("at most 1"));
}

TEST(Engine, refuses_with_a_time_to_retry_when_the_queue_is_full) {
  EngineOptions options = options_for(small_runner());
  options.max_num_seqs = 1;
  options.max_num_queued_reqs = 2;
  GatedEngine world(options);
  std::vector<RequestHandle> handles;
  for (uint64_t i = 0; i < 3; ++i) {  // one runs, two wait
    auto handle = world.engine->submit(make_request(world.sink, i, {1, 2, 3}, 4));
    ASSERT_TRUE(handle.ok());
    handles.push_back(std::move(handle).value());
  }
  auto refused = world.engine->submit(make_request(world.sink, 9, {1, 2, 3}, 4));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(world.engine->stats().running + world.engine->stats().waiting, 3);  // even while a step hangs
  EXPECT_GE(refused.error().retry_after_s, 1);
  EXPECT_EQ(world.engine->stats().refused, 1U);
  world.gate->let(kEver);
  world.sink->wait_for_finals(3);
  EXPECT_TRUE(world.engine->submit(make_request(world.sink, 10, {1, 2, 3}, 4)).ok());
}

TEST(Engine, bounds_the_waiting_prompt_tokens) {
  EngineOptions options = options_for(small_runner());
  options.max_num_queued_tokens = 100;
  GatedEngine world(options);
  auto first = world.engine->submit(make_request(world.sink, 1, std::vector<int32_t>(900, 1), 4));
  ASSERT_TRUE(first.ok());  // nothing waits: even a long one is taken
  world.gate->let(1);
  world.gate->wait_for_launch(2);  // it runs
  auto second = world.engine->submit(make_request(world.sink, 2, std::vector<int32_t>(90, 1), 4));
  EXPECT_TRUE(second.ok());
  auto third = world.engine->submit(make_request(world.sink, 3, std::vector<int32_t>(11, 1), 4));
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, ErrorCode::kOverloaded);
  auto fourth = world.engine->submit(make_request(world.sink, 4, std::vector<int32_t>(10, 1), 4));
  EXPECT_TRUE(fourth.ok());
}

TEST(Engine, a_cancelled_request_stops_within_a_step_and_frees_its_blocks) {
  GatedEngine world;
  auto handle = world.engine->submit(make_request(world.sink, 1, std::vector<int32_t>(20, 1), 1000));
  ASSERT_TRUE(handle.ok());
  world.gate->let(3);
  world.sink->wait_for_tokens(1, 3);
  world.gate->wait_for_launch(4);
  handle->cancel();
  world.gate->let(1);
  world.sink->wait_for_finals(1);
  EXPECT_EQ(world.sink->answer(1).last.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(world.sink->answer(1).tokens.size(), 4U);
  EXPECT_EQ(world.engine->stats().kv_blocks_used, 0);
  wait_until_idle(*world.engine);
}

TEST(Engine, destroying_or_replacing_a_handle_cancels_and_releasing_does_not) {
  const auto runner = small_runner();
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  {
    auto dropped = engine->submit(make_request(sink, 1, {1}, 1000));
    auto replaced = engine->submit(make_request(sink, 2, {1}, 1000));
    auto moved = engine->submit(make_request(sink, 3, {1}, 1000));
    auto released = engine->submit(make_request(sink, 4, {1}, 1000));
    ASSERT_TRUE(dropped.ok() && replaced.ok() && moved.ok() && released.ok());
    RequestHandle place = std::move(*replaced);
    place = std::move(*moved);
    released->release();
  }
  sink->wait_for_finals(4);
  EXPECT_EQ(sink->answer(4).last.finish_reason, FinishReason::kLength);
  EXPECT_EQ(sink->answer(4).tokens.size(), 1000U);
}

TEST(Engine, a_passed_deadline_ends_a_request_running_or_waiting) {
  EngineOptions options = options_for(small_runner());
  options.max_num_seqs = 1;
  GatedEngine world(options);
  auto running = make_request(world.sink, 1, {1, 2}, 1000);
  running.deadline = Clock::now();
  auto waiting = make_request(world.sink, 2, {1, 2}, 1000);
  waiting.deadline = Clock::now();
  auto first = world.engine->submit(std::move(running));
  auto second = world.engine->submit(std::move(waiting));
  world.gate->let(kEver);
  world.sink->wait_for_finals(2);
  EXPECT_EQ(world.sink->answer(1).last.finish_reason, FinishReason::kDeadline);
  EXPECT_EQ(world.sink->answer(2).last.finish_reason, FinishReason::kDeadline);
}

TEST(Engine, destruction_ends_every_live_request_once) {
  auto sink = std::make_shared<GatheringSink>();
  for (int round = 0; round < 20; ++round) {
    const auto runner = small_runner();
    auto engine = start_engine(runner, options_for(runner));
    for (uint64_t i = 0; i < 40; ++i) {
      auto handle =
          engine->submit(make_request(sink, static_cast<uint64_t>(round) * 100 + i, {1, 2, 3}, 1000));
      ASSERT_TRUE(handle.ok());
      handle->release();
    }
    engine.reset();
  }
  const auto answers = sink->answers();
  EXPECT_EQ(answers.size(), 800U);
  for (const auto& [tag, answer] : answers) {
    EXPECT_EQ(answer.finals, 1) << tag;
    EXPECT_EQ(answer.events_after_final, 0) << tag;
  }
}

TEST(Engine, a_drain_refuses_new_requests_and_finishes_the_others) {
  GatedEngine world;
  auto before = world.engine->submit(make_request(world.sink, 1, {1, 2, 3}, 20));
  ASSERT_TRUE(before.ok());
  world.engine->begin_drain();
  auto after = world.engine->submit(make_request(world.sink, 2, {1, 2, 3}, 20));
  ASSERT_FALSE(after.ok());
  EXPECT_EQ(after.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(world.engine->idle());
  world.gate->let(kEver);
  world.sink->wait_for_finals(1);
  EXPECT_EQ(world.sink->answer(1).last.finish_reason, FinishReason::kLength);
  wait_until_idle(*world.engine);
}

TEST(Engine, tells_a_hang_from_rest) {
  using namespace std::chrono_literals;
  GatedEngine world;
  std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(world.engine->makes_progress(1ms));  // at rest
  auto handle = world.engine->submit(make_request(world.sink, 1, {1, 2, 3}, 2));
  ASSERT_TRUE(handle.ok());
  EXPECT_TRUE(world.engine->makes_progress(1h));  // just became busy, however long it rested
  world.gate->wait_for_launch(1);
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(world.engine->makes_progress(10ms));  // a step that does not end
  world.gate->let(kEver);
  world.sink->wait_for_finals(1);
  EXPECT_TRUE(world.engine->makes_progress(1h));
}

TEST(Engine, reports_what_it_did) {
  const auto runner = small_runner();
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  for (uint64_t i = 1; i <= 2; ++i) {
    auto handle = engine->submit(make_request(sink, i, std::vector<int32_t>(40, 7), 3));
    ASSERT_TRUE(handle.ok());
    sink->wait_for_finals(static_cast<int>(i));
    handle->release();
  }
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.prompt_tokens, 80U);
  EXPECT_EQ(stats.prompt_tokens_cached, 32U);
  EXPECT_EQ(stats.prefix_cache_queries, 80U);
  EXPECT_EQ(stats.prefix_cache_hits, 32U);
  EXPECT_EQ(stats.generation_tokens, 6U);
  EXPECT_EQ(stats.steps, 6U);
  EXPECT_EQ(stats.kv_blocks_total, 256);
  EXPECT_EQ(stats.kv_blocks_cached, 2);
  EXPECT_EQ(sink->answer(1).last.cached_tokens, 0);
  EXPECT_EQ(sink->answer(2).last.cached_tokens, 32);
  EXPECT_EQ(engine->take_step_tokens(), (std::vector<int32_t>{40, 1, 1, 8, 1, 1}));
  EXPECT_TRUE(engine->take_step_tokens().empty());
  EXPECT_EQ(engine->options().max_model_len, 1024);
}

TEST(Engine, survives_a_storm_of_submissions_and_cancellations_from_many_threads) {
  auto runner = small_runner();
  runner.facts.block_count = 80;  // short of memory: preemptions join in
  EngineOptions options = options_for(runner);
  options.max_num_queued_reqs = 30;
  auto engine = start_engine(runner, options);
  auto sink = std::make_shared<GatheringSink>();
  constexpr int kThreads = 4, kRequests = 150;
  std::atomic<int> accepted = 0;
  std::latch go(kThreads + 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t));
      std::vector<RequestHandle> handles;
      go.arrive_and_wait();
      for (int i = 0; i < kRequests; ++i) {
        const auto tag = static_cast<uint64_t>(t * kRequests + i);
        auto prompt = random_tokens(random, 1 + static_cast<int>(random() % 200), 1000);
        auto handle = engine->submit(make_request(sink, tag, prompt, 1 + static_cast<int>(random() % 100)));
        if (!handle.ok()) {
          EXPECT_EQ(handle.error().code, ErrorCode::kOverloaded);
          std::this_thread::yield();
          continue;
        }
        ++accepted;
        handles.push_back(std::move(handle).value());
        if (random() % 3 == 0) handles.erase(handles.begin() + static_cast<long>(random() % handles.size()));
        if (handles.empty()) continue;
        if (random() % 5 == 0) handles[random() % handles.size()].cancel();
        if (random() % 2 == 0) handles[random() % handles.size()].release();
      }
    });
  }
  std::thread reader([&] {
    go.arrive_and_wait();
    for (int i = 0; i < 300; ++i) {
      const EngineStats stats = engine->stats();
      EXPECT_LE(stats.kv_blocks_used, stats.kv_blocks_total);
      engine->take_step_tokens();
      EXPECT_TRUE(engine->makes_progress(std::chrono::hours(1)));
    }
  });
  for (auto& thread : threads) thread.join();
  reader.join();
  sink->wait_for_finals(accepted);
  wait_until_idle(*engine);
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
  const auto answers = sink->answers();
  EXPECT_EQ(answers.size(), static_cast<size_t>(accepted));
  for (const auto& [tag, answer] : answers) {
    EXPECT_EQ(answer.finals, 1) << tag;
    EXPECT_EQ(answer.events_after_final, 0) << tag;
  }
}

}  // namespace
}  // namespace sluice
