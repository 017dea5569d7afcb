// A small engine over the simulated runner, a sink that gathers events, and what each answer must be. Test
// threads.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/simulated_runner.h"

namespace sluice::testing {

// Gathers events by tag; checks that each request has exactly one last event and none after it.
class GatheringSink : public EventSink {
 public:
  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<SampledToken> prompt_logprobs;
    TokenEvent last;
    int finals = 0;
    int events = 0;
    int events_after_final = 0;
  };

  void post(std::vector<TokenEvent>&& events) noexcept override {
    {
      std::lock_guard lock(mutex_);
      ++posts_;
      for (TokenEvent& event : events) {
        Answer& answer = answers_[event.tag];
        ++answer.events;
        if (answer.finals > 0) ++answer.events_after_final;
        for (const SampledToken& token : event.prompt_logprobs) answer.prompt_logprobs.push_back(token);
        for (const SampledToken& token : event.tokens) answer.tokens.push_back(token.id);
        if (event.finish_reason != FinishReason::kNone) {
          ++answer.finals;
          ++finals_;
          answer.last = std::move(event);
        }
      }
    }
    changed_.notify_all();
  }

  // Until so many requests have ended.
  void wait_for_finals(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finals_ >= count; });
  }
  void wait_for_tokens(uint64_t tag, size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answers_[tag].tokens.size() >= count || answers_[tag].finals > 0; });
  }
  Answer answer(uint64_t tag) {
    std::lock_guard lock(mutex_);
    return answers_[tag];
  }
  std::map<uint64_t, Answer> answers() {
    std::lock_guard lock(mutex_);
    return answers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Answer> answers_;
  int finals_ = 0;
  int posts_ = 0;
};

inline SimulatedRunnerOptions small_runner() {
  SimulatedRunnerOptions options;
  options.facts = {.vocabulary = 1000,
                   .width = 4,
                   .block_tokens = 16,
                   .block_count = 256,
                   .max_model_len = 1024,
                   .max_tokens_per_step = 128,
                   .max_sequences = 16,
                   .eos_ids = {2},
                   .device = "simulated"};
  options.check_whole_context = true;
  return options;
}

inline EngineOptions options_for(const SimulatedRunnerOptions& runner) {
  EngineOptions options;
  options.max_num_seqs = runner.facts.max_sequences;
  options.max_num_batched_tokens = runner.facts.max_tokens_per_step;
  options.block_size = runner.facts.block_tokens;
  return options;
}

inline std::unique_ptr<Engine> start_engine(const SimulatedRunnerOptions& runner,
                                            const EngineOptions& options) {
  auto engine = Engine::start(options, std::make_unique<SimulatedRunner>(runner));
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  return std::move(engine).value();
}

// The engine is idle a moment after its last event was posted.
inline void wait_until_idle(const Engine& engine) {
  while (!engine.idle()) std::this_thread::yield();
}

inline std::vector<int32_t> random_tokens(std::mt19937_64& random, int count, int vocabulary) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (auto& token : tokens) token = static_cast<int32_t>(random() % static_cast<uint64_t>(vocabulary));
  return tokens;
}

inline Request make_request(std::shared_ptr<EventSink> sink, uint64_t tag, std::vector<int32_t> prompt,
                            int max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.tag = tag;
  request.sink = std::move(sink);
  return request;
}

// Allows the two thirds of the tokens that the number of tokens before selects, EOS after `length` of them
// and nothing else. Whatever it is told must have been allowed.
class StripeConstraint : public TokenConstraint {
 public:
  StripeConstraint(const RunnerFacts& facts, int length)
      : vocabulary_(facts.vocabulary), eos_(facts.eos_ids.front()), length_(length) {}
  bool allows(int position, int32_t token) const {
    if (position >= length_) return token == eos_;
    return token != eos_ && token % 3 != position % 3;
  }
  bool fill_mask(std::span<uint32_t> words) noexcept override {
    std::ranges::fill(words, 0U);
    for (int32_t v = 0; v < vocabulary_; ++v) {
      if (allows(told_, v)) words[static_cast<size_t>(v) / 32] |= 1U << (v % 32);
    }
    return true;
  }
  bool accept(int32_t token) noexcept override {
    EXPECT_TRUE(allows(told_, token)) << token << " as token " << told_;
    ++told_;
    return true;
  }

 private:
  const int vocabulary_;
  const int32_t eos_;
  const int length_;
  int told_ = 0;
};

// What the engine must answer, told from the request alone. `stripes` > 0: under a StripeConstraint.
struct Expected {
  std::vector<int32_t> tokens;
  FinishReason reason = FinishReason::kLength;
};

inline Expected expected_answer(const SimulatedRunnerOptions& runner, const std::vector<int32_t>& prompt,
                                const SamplingParams& sampling, int stripes = 0,
                                const ThinkingBudget& budget = {}) {
  Expected expected;
  Thinking thinking;
  std::vector<int32_t> prefix = prompt;
  std::vector<int32_t> banned = sampling.stop_token_ids;
  if (!sampling.ignore_eos)
    banned.insert(banned.end(), runner.facts.eos_ids.begin(), runner.facts.eos_ids.end());
  const auto contains = [](const std::vector<int32_t>& ids, int32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  for (int i = 0; i < sampling.max_tokens; ++i) {
    SamplingRow row{
        .temperature = sampling.temperature, .seed = sampling.seed, .draw_index = static_cast<uint64_t>(i)};
    std::vector<uint32_t> mask;
    if (stripes > 0) {
      mask.resize((static_cast<size_t>(runner.facts.vocabulary) + 31) / 32);
      const StripeConstraint constraint(runner.facts, stripes);
      for (int32_t v = 0; v < runner.facts.vocabulary; ++v) {
        if (constraint.allows(i, v)) mask[static_cast<size_t>(v) / 32] |= 1U << (v % 32);
      }
      row.allowed_mask = mask;
    } else if (i < sampling.min_tokens) {
      row.banned_tokens = banned;
    }
    const int32_t token =
        thinking.next(budget, expected.tokens, SimulatedRunner::expected_token(runner, prefix, row));
    prefix.push_back(token);
    expected.tokens.push_back(token);
    const bool eos = (stripes > 0 || !sampling.ignore_eos) && contains(runner.facts.eos_ids, token);
    if ((stripes > 0 && eos) ||
        (i + 1 >= sampling.min_tokens && (eos || contains(sampling.stop_token_ids, token)))) {
      expected.reason = FinishReason::kStop;
      break;
    }
  }
  return expected;
}

inline std::vector<float> expected_embedding(const SimulatedRunnerOptions& runner,
                                             const std::vector<int32_t>& prompt, Pooling pooling) {
  if (pooling == Pooling::kLast) return SimulatedRunner::expected_hidden(runner, prompt);
  std::vector<double> sum(static_cast<size_t>(runner.facts.width));
  for (size_t length = 1; length <= prompt.size(); ++length) {
    const auto row = SimulatedRunner::expected_hidden(runner, std::span(prompt).first(length));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += row[i];
  }
  std::vector<float> mean;
  for (const double value : sum)
    mean.push_back(static_cast<float>(value / static_cast<double>(prompt.size())));
  return mean;
}

}  // namespace sluice::testing
