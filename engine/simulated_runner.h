// A runner with a cost model in place of a device, so that the real scheduler, KV bookkeeping, server and
// metrics run at any size on any machine. Engine thread only.
//
// Its answers check the bookkeeping: each KV slot holds a digest of the whole token prefix that was stored up
// to it, and a sampled token is a pure function of the digest found behind the context (and, unless greedy,
// of seed and draw index). A token stored in a wrong slot, a block given away too early or a stale block
// table gives another answer than `expected_token` over the request's own tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/model_runner.h"
#include "engine/request.h"

namespace sluice {

// Seconds a step takes: step + prefill_token * (tokens of sequences with more than one) + decode_sequence *
// (sequences with one) + context_token * (tokens of context of all sequences) + prefill_pair * (pairs of a
// token of a sequence with more than one and a token before it: the part of a prompt's attention that grows
// with its square).
struct StepCost {
  double step_seconds = 0;
  double prefill_token_seconds = 0;
  double decode_sequence_seconds = 0;
  double context_token_seconds = 0;
  double prefill_pair_seconds = 0;
};

struct SimulatedRunnerOptions {
  RunnerFacts facts;
  StepCost cost;
  bool real_time =
      true;  // collect() waits until the step would have ended; false: only `simulated_seconds` tells
  bool check_whole_context =
      false;                   // walk every context through its block table in every step: slow, finds more
  int mean_answer_tokens = 0;  // > 0: about one token in so many is the first of facts.eos_ids
  std::vector<int32_t> answer_ids;  // what answers are made of; empty: the whole vocabulary
};

class SimulatedRunner : public ModelRunner {
 public:
  explicit SimulatedRunner(SimulatedRunnerOptions options);

  const RunnerFacts& facts() const override { return options_.facts; }
  void launch(const StepBatch& batch) override;
  void sample(std::span<const SamplingRow> rows) override;
  std::span<const SampledToken> collect() override;
  std::span<const float> hidden() const override { return hidden_; }

  // Of all steps collected since the start, and of the last of them.
  double simulated_seconds() const { return simulated_seconds_; }
  double last_step_seconds() const { return last_step_seconds_; }

  // The hidden state behind `prefix`: [facts.width].
  static std::vector<float> expected_hidden(const SimulatedRunnerOptions& options,
                                            std::span<const int32_t> prefix);
  // What it says of `next` behind `prefix`, of a prompt.
  static float expected_logprob(std::span<const int32_t> prefix, int32_t next);
  // What the runner answers after `prefix` (prompt and what was generated so far).
  static int32_t expected_token(const SimulatedRunnerOptions& options, std::span<const int32_t> prefix,
                                const SamplingRow& row);

 private:
  struct Step {
    double seconds = 0;
    Clock::time_point end;
    std::vector<uint64_t> rows;  // what each row to be sampled has read
    std::vector<SampledToken> tokens;
    bool sampled = false;
  };
  Step& step(size_t number) { return steps_[number % steps_.size()]; }
  void store(const StepBatch& batch);
  void check_context(const StepBatch& batch, int64_t sequence) const;
  double cost_of(const StepBatch& batch) const;

  const SimulatedRunnerOptions options_;
  const size_t slots_;                   // N * B
  std::unique_ptr<uint64_t[]> digests_;  // [slots_] of the prefix up to and with the slot's token; memory
                                         // that was never written is never touched
  std::vector<int32_t> stored_;          // [slots_] the slot's token, with check_whole_context
  std::vector<Step> steps_;              // a ring, as many as may be in flight
  size_t launched_ = 0, sampled_ = 0, collected_ = 0;  // since the start
  std::vector<int32_t> latest_;                        // what the step sampled last chose
  std::vector<float> hidden_;
  double simulated_seconds_ = 0;
  double last_step_seconds_ = 0;
  Clock::time_point busy_until_;
};

}  // namespace sluice
