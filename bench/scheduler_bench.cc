// What a step costs the engine beside the device: plan, batch, append, publish, with S sequences that decode
// (and, in the second case, come and go). The runner answers at once.
//   build/bench/scheduler_bench
#include <benchmark/benchmark.h>

#include <memory>

#include "engine/core.h"

namespace sluice {
namespace {

constexpr int kPrompt = 512;
constexpr int kAnswer = 512;

// Draws token 5 for every row.
class InstantRunner : public ModelRunner {
 public:
  explicit InstantRunner(int sequences) : tokens_(static_cast<size_t>(sequences), SampledToken{.id = 5}) {
    const int64_t blocks = int64_t{sequences} * (kPrompt + kAnswer) / 16;
    facts_ = {.vocabulary = 50000,
              .block_tokens = 16,
              .block_count = blocks * 5 / 4,
              .max_model_len = 8192,
              .max_tokens_per_step = 8192,
              .max_sequences = sequences};
  }
  const RunnerFacts& facts() const override { return facts_; }
  void launch(const StepBatch&) override {}
  void sample(std::span<const SamplingRow> rows) override { rows_ = rows.size(); }
  std::span<const float> hidden() const override { return {}; }
  std::span<const SampledToken> collect() override { return std::span(tokens_).first(rows_); }

 private:
  RunnerFacts facts_;
  std::vector<SampledToken> tokens_;
  size_t rows_ = 0;
};

class CountingSink : public EventSink {
 public:
  void post(std::vector<TokenEvent>&& events) noexcept override {
    for (const TokenEvent& event : events) ended_ += event.finish_reason != FinishReason::kNone ? 1 : 0;
  }
  int take_ended() { return std::exchange(ended_, 0); }

 private:
  int ended_ = 0;
};

struct World {
  explicit World(int sequences) : core(options(sequences), std::make_unique<InstantRunner>(sequences)) {}

  static EngineOptions options(int sequences) {
    EngineOptions options;
    options.max_model_len = 8192;
    options.max_num_seqs = sequences;
    options.max_num_batched_tokens = 8192;
    return options;
  }

  void add(int answer) {
    Request request;
    request.prompt.assign(kPrompt, 0);
    for (auto& token : request.prompt) token = static_cast<int32_t>(++next_token % 50000);
    request.sampling.max_tokens = answer;
    request.sampling.temperature = 0;
    request.sink = sink;
    core.add(++last_id, std::move(request));
  }

  void step() {
    core.launch(now);
    core.wait();
    now += std::chrono::milliseconds(10);
    core.complete(now, 0.01);
    core.publish(now);
  }

  std::shared_ptr<CountingSink> sink = std::make_shared<CountingSink>();
  EngineCore core;
  Clock::time_point now{std::chrono::hours(1)};
  RequestId last_id = 0;
  uint64_t next_token = 0;
};

class DeafListener : public KvEventListener {
 public:
  void events_ready() noexcept override {}
};

// Every sequence ends and another comes, a few in each step: prompts, prefix cache and evictions take part.
// With readers: of the events, who read them in the same thread.
void step_with_arrivals(benchmark::State& state) {
  const auto sequences = static_cast<int>(state.range(0));
  World world(sequences);
  for (int i = 0; i < sequences; ++i) world.add(1 + i * kAnswer / sequences);
  for (int i = 0; i < kAnswer; ++i) {
    world.step();
    for (int ended = world.sink->take_ended(); ended > 0; --ended) world.add(kAnswer);
  }
  std::vector<std::unique_ptr<KvEventReader>> readers;
  for (int64_t i = 0; i < state.range(1); ++i) {
    auto opened = world.core.events().open(std::nullopt, std::make_shared<DeafListener>());
    readers.push_back(std::move(opened->reader));
    world.core.attach_reader(std::move(opened->cursor));
  }
  std::vector<KvEvent> events;
  uint64_t told = 0;
  for (auto _ : state) {
    world.step();
    for (int ended = world.sink->take_ended(); ended > 0; --ended) world.add(kAnswer);
    for (const auto& reader : readers) {
      do {
        events.clear();
        reader->read(events);
        told += events.size();
      } while (!events.empty());
    }
  }
  if (!readers.empty())
    state.counters["events"] = static_cast<double>(told) / static_cast<double>(state.iterations());
}

// Decoding alone, in the middle of long answers.
void decode_step(benchmark::State& state) {
  const auto sequences = static_cast<int>(state.range(0));
  auto world = std::make_unique<World>(sequences);
  int left = 0;
  for (auto _ : state) {
    if (left-- == 0) {
      state.PauseTiming();
      world = std::make_unique<World>(sequences);
      for (int i = 0; i < sequences; ++i) world->add(kAnswer);
      while (world->core.stats().generation_tokens < static_cast<uint64_t>(sequences) * 10) world->step();
      left = kAnswer - 200;
      state.ResumeTiming();
    }
    world->step();
  }
}

BENCHMARK(decode_step)->Arg(1)->Arg(64)->Arg(256)->Arg(1024)->Unit(benchmark::kMicrosecond);
BENCHMARK(step_with_arrivals)
    ->ArgNames({"sequences", "readers"})
    ->Args({64, 0})
    ->Args({256, 0})
    ->Args({1024, 0})
    ->Args({256, 1})
    ->Args({256, 4})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
