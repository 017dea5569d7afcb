// What routing costs without sockets: hashing, the index at ten million blocks, its updates, whole decisions.
//   build/bench/router_bench
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/hash.h"
#include "router/core/prefix_match.h"
#include "router/core/prompt_chain.h"
#include "router/core/router_core.h"

namespace sluice::router {
namespace {

void hash_text(benchmark::State& state) {
  const std::string text(static_cast<size_t>(state.range(0)), 'x');
  std::vector<uint64_t> room(text.size() / kChunkBytes + 1);
  for (auto _ : state) {
    TextChain chain(1, room);
    chain.add(text);
    benchmark::DoNotOptimize(room.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}

void hash_token_blocks(benchmark::State& state) {
  std::vector<int32_t> tokens(static_cast<size_t>(state.range(0)), 7);
  std::vector<uint64_t> room(tokens.size() / 16 + 1);
  for (auto _ : state) benchmark::DoNotOptimize(chain_blocks(1, tokens, 16, room));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0) * 4);
}

// A fleet's caches: a system prompt that all hold, groups that some hold, sessions that one or two hold.
struct Caches {
  static constexpr size_t kReplicas = 300;
  static constexpr size_t kSessions = 60'000;

  explicit Caches(uint64_t blocks)
      : index({.budget_bytes = blocks * 34 * 8 / 7 * 10 / 7, .secret = 99}), dictionary(1 << 16, 1) {
    for (size_t i = 0; i < kReplicas; ++i) holders.push_back(*index.add_holder(1ULL << 40));
    std::mt19937_64 random(1);
    session_blocks = blocks / kSessions;
    for (size_t session = 0; session < kSessions; ++session) {
      const PromptChain chain = prompt(session);
      for (uint64_t copies = 1 + random() % 2; copies > 0; --copies) {
        const HolderId holder = holders[random() % kReplicas];
        uint64_t parent = 0;
        for (const uint64_t hash : chain.hashes) index.store(holder, hash, std::exchange(parent, hash));
      }
    }
  }

  // 32 blocks of system prompt, 64 of one of 200 groups, the rest of the session's own.
  PromptChain prompt(size_t session) const {
    PromptChain chain{.kind = PromptChain::Kind::kBlocks, .unit = 16};
    uint64_t hash = 1;
    for (size_t i = 0; i < 96 + session_blocks; ++i) {
      hash = hash_combine(hash, i < 32 ? 1 : i < 96 ? 1000 + session % 200 : 100'000 + session);
      chain.hashes.push_back(hash);
    }
    chain.size = chain.hashes.size() * 16;
    return chain;
  }

  PrefixIndex index;
  TextDictionary dictionary;
  std::vector<HolderId> holders;
  size_t session_blocks = 0;
};

Caches& caches() {
  static Caches caches(10'000'000);
  return caches;
}

void look_up(benchmark::State& state) {
  Caches& world = caches();
  auto match = std::make_unique<PrefixMatch>();
  std::mt19937_64 random(2);
  std::vector<PromptChain> prompts;
  for (int i = 0; i < 2000; ++i) {
    prompts.push_back(world.prompt(random() % Caches::kSessions));
    // A new turn: some blocks that nobody has.
    for (int j = 0; j < 20; ++j) prompts.back().hashes.push_back(random());
  }
  std::vector<double> nanoseconds;
  size_t at = 0, probes = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    match_prefix(prompts[at++ % prompts.size()], 0.25, world.index, world.dictionary, *match);
    nanoseconds.push_back(
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
    probes += static_cast<size_t>(match->probes);
  }
  std::ranges::sort(nanoseconds);
  const auto quantile = [&](double q) {
    return nanoseconds[static_cast<size_t>(q * static_cast<double>(nanoseconds.size() - 1))];
  };
  state.counters["p50_us"] = quantile(0.5) / 1000;
  state.counters["p99_us"] = quantile(0.99) / 1000;
  state.counters["probes"] = static_cast<double>(probes) / static_cast<double>(state.iterations());
  state.counters["blocks_M"] = static_cast<double>(world.index.stats().blocks) / 1e6;
  state.counters["GB"] = static_cast<double>(world.index.stats().bytes) / 1e9;
  state.counters["evicted_M"] = static_cast<double>(world.index.stats().evictions) / 1e6;
}

// Half stored, half evicted, on random replicas.
void apply_events(benchmark::State& state) {
  Caches& world = caches();
  std::mt19937_64 random(3);
  std::vector<std::pair<HolderId, uint64_t>> stored;
  for (int i = 0; i < 100'000; ++i)
    stored.emplace_back(world.holders[random() % Caches::kReplicas], random());
  size_t at = 0;
  for (auto _ : state) {
    auto& [holder, hash] = stored[at++ % stored.size()];
    world.index.evict(holder, hash);
    hash = hash_combine(hash, at);
    world.index.store(holder, hash, 0);
  }
  state.SetItemsProcessed(2 * static_cast<int64_t>(state.iterations()));
}

// Arrival, choice, charge, prediction, first byte, end: the whole core for one request of 4096 tokens.
void route_request(benchmark::State& state) {
  RouterCoreOptions options;
  options.index = {.budget_bytes = 256 << 20, .secret = 1};
  options.slow_start = 0;
  RouterCore core(options);
  for (int64_t i = 0; i < state.range(0); ++i) {
    const ReplicaId id = core.add_replica({.name = "r" + std::to_string(i), .max_running = 1 << 20}, 0);
    core.health_checked(id, true, 0);
  }
  std::vector<Action> actions;
  std::mt19937_64 random(4);
  RequestId last = 0;
  double now = 1;
  // Two thousand are in flight at any time.
  std::vector<Action> in_flight(2000);
  for (auto _ : state) {
    now += 1e-4;
    RequestSketch sketch{.id = ++last, .model = "m", .tenant = "t"};
    sketch.prompt = {.kind = PromptChain::Kind::kText, .size = 16'384};
    uint64_t hash = random() % 500;
    for (int i = 0; i < 32; ++i) sketch.prompt.hashes.push_back(hash = hash_combine(hash, i < 24 ? 0 : last));
    core.arrive(std::move(sketch), now);
    core.take_actions(actions);
    Action& slot = in_flight[last % in_flight.size()];
    if (slot.attempt != 0) {
      core.answered(slot.request, slot.attempt, 200, 0, now);
      core.first_byte(slot.request, slot.attempt, now);
      core.ended(slot.request, slot.attempt, 10, now);
    }
    slot = actions.back();
    core.take_actions(actions);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}

BENCHMARK(hash_text)->Arg(1024)->Arg(16'384)->Arg(220'000);
BENCHMARK(hash_token_blocks)->Arg(16'384);
BENCHMARK(look_up)->Unit(benchmark::kMicrosecond)->MinTime(1);
BENCHMARK(apply_events)->MinTime(1);
BENCHMARK(route_request)->Arg(4)->Arg(32)->Arg(300)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::router

BENCHMARK_MAIN();
