#include "bench/autoscale_workload.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <random>
#include <unordered_set>

#include "base/hash.h"

namespace sluice::autoscale {
namespace {

constexpr uint32_t kBlockTokens = 128;
constexpr Seconds kHalfWindow = 30;

double unit(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) / 9007199254740992.0;
}
double exponential(std::mt19937_64& random, double mean) {
  return -std::log(1 - unit(random)) * mean;
}

// A prompt of its own behind a system prompt that it shares with its group.
router_sim::SimPrompt make_prompt(const Shape& shape, uint64_t group, uint64_t number, uint32_t question,
                                  uint32_t output) {
  router_sim::SimPrompt prompt{.prompt_tokens = shape.system_tokens + question, .output_tokens = output};
  auto blocks = std::make_shared<std::vector<uint64_t>>();
  uint64_t hash = hash_combine(1, group);
  for (uint32_t end = kBlockTokens; end <= prompt.prompt_tokens; end += kBlockTokens) {
    hash = hash_combine(hash, end <= shape.system_tokens ? end : hash_combine(number, end));
    blocks->push_back(hash);
  }
  prompt.blocks = std::move(blocks);
  return prompt;
}

}  // namespace

double rate_at(const Shape& shape, Seconds at, uint64_t seed) {
  switch (shape.kind) {
    case Shape::Kind::kStep:
      return at >= 0.2 * shape.duration && at < 0.8 * shape.duration ? shape.high : shape.low;
    case Shape::Kind::kDiurnal: {
      const double wave = (1 - std::cos(2 * std::numbers::pi * at / shape.period)) / 2;
      return shape.low + (shape.high - shape.low) * wave;
    }
    case Shape::Kind::kBursts: {
      const double period = std::floor(at / shape.period);
      const uint64_t chance = hash_combine(seed, static_cast<uint64_t>(period)) % 1000;
      const Seconds begin =
          period * shape.period + (shape.period - shape.burst) * static_cast<double>(chance) / 1000;
      return at >= begin && at < begin + shape.burst ? shape.high : shape.low;
    }
  }
  return shape.low;
}

// By thinning (Lewis and Shedler, 1979).
Workload make_workload(const Shape& shape, uint64_t seed) {
  std::mt19937_64 random(seed);
  Workload workload{.block_tokens = kBlockTokens};
  const double most = std::max(shape.low, shape.high);
  for (Seconds at = exponential(random, 1 / most); at < shape.duration; at += exponential(random, 1 / most)) {
    if (unit(random) * most > rate_at(shape, at, seed)) continue;
    const uint64_t group = random() % static_cast<uint64_t>(shape.groups);
    const auto tokens = [&](double mean) { return static_cast<uint32_t>(1 + exponential(random, mean)); };
    const uint32_t question = tokens(shape.question_tokens), output = tokens(shape.output_tokens);
    const uint64_t number = workload.requests.size() + 1;
    workload.requests.push_back({.at = at,
                                 .prompt = make_prompt(shape, group, number, question, output),
                                 .session_key = hash_combine(seed, number)});
  }
  return workload;
}

std::vector<int> needed_replicas(const Workload& workload, const ReplicaModel& model, double busy) {
  if (workload.requests.empty()) return {};
  const auto seconds = static_cast<size_t>(workload.requests.back().at) + 1;
  std::vector<double> work(seconds, 0);
  // The knee of n/(s0 + s1*n): server/scaling/concurrency_knee.h.
  const double knee = model.step_per_running > 0 ? std::min(4 * model.step_seconds / model.step_per_running,
                                                            static_cast<double>(model.max_running))
                                                 : static_cast<double>(model.max_running);
  const double token_seconds = (model.step_seconds + model.step_per_running * knee) / std::max(knee, 1.0);
  std::unordered_set<uint64_t> seen;
  for (const router_sim::SimRequest& request : workload.requests) {
    double cached = 0;
    bool held = true;
    for (const uint64_t block : *request.prompt.blocks) {
      held = held && seen.contains(block);
      if (held) cached += workload.block_tokens;
      seen.insert(block);
    }
    work[static_cast<size_t>(request.at)] +=
        (request.prompt.prompt_tokens - cached) / model.prefill_tokens_per_second +
        request.prompt.output_tokens * token_seconds;
  }
  std::vector<double> upto(seconds + 1, 0);
  for (size_t i = 0; i < seconds; ++i) upto[i + 1] = upto[i] + work[i];
  std::vector<int> needed(seconds);
  const auto half = static_cast<size_t>(kHalfWindow);
  for (size_t i = 0; i < seconds; ++i) {
    const size_t begin = i > half ? i - half : 0, end = std::min(i + half, seconds);
    const double mean = (upto[end] - upto[begin]) / static_cast<double>(end - begin);
    needed[i] = std::max(static_cast<int>(std::ceil(mean / busy)), 1);
  }
  return needed;
}

}  // namespace sluice::autoscale
