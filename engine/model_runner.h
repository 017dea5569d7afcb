// Runs a plan: the seam between the scheduler's decisions and a device. The real one drives Model and
// Backend, the simulated one a cost model. Engine thread only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace sluice {

struct RunnerFacts {
  int vocabulary = 0;
  int width = 0;  // E, of a hidden state
  int block_tokens = 16;
  int64_t block_count = 0;  // N, KV blocks there are
  int max_model_len = 0;
  int max_tokens_per_step = 0;
  int max_sequences = 0;
  int steps_in_flight = 1;       // that may be launched and not collected
  int max_logprobs = INT32_MAX;  // of a token
  std::vector<int32_t> eos_ids;
  std::string device;
};

// A step is launched, sampled and collected, in this order. With two in flight: launch(2) comes after
// sample(1) and before collect(1), sample(2) after it. So what a step's tokens are is told to the host while
// the next step already computes with them: of its token ids, ~r is the token of row r of the step sampled
// last.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual const RunnerFacts& facts() const = 0;
  // Starts the forward pass of a step. The batch is valid until the step has been collected.
  virtual void launch(const StepBatch& batch) = 0;
  // How each of its batch.sample_rows becomes a token. Valid until collected.
  virtual void sample(std::span<const SamplingRow> rows) = 0;
  // Waits for the oldest step; one token per sample row, in order. Valid until the next call.
  virtual std::span<const SampledToken> collect() = 0;
  // [P, E] of the step collected last: the final hidden state of each of batch.hidden_rows. No step may be
  // launched behind one that has such rows before that one is collected.
  virtual std::span<const float> hidden() const = 0;
};

}  // namespace sluice
