// Runs a plan: the seam between the scheduler's decisions and a device. The real one drives Model and
// Backend, the simulated one a cost model. Engine thread only.
#pragma once

#include <cstdint>
#include <functional>
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
  std::vector<int32_t> eos_ids;
  std::string device;
};

// A step as the runner needs it: the flat batch, and how to sample each of batch.sample_rows. Valid until
// collected.
struct RunnerStep {
  StepBatch batch;
  std::span<const SamplingRow> sampling;  // [R]
  // Called on the engine thread once the forward pass is on its way, before any row of `sampling` is read:
  // the masks in it are complete when it returns. Empty: they are complete already.
  std::function<void()> await_masks;
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual const RunnerFacts& facts() const = 0;
  // Starts a step; at most one is in flight.
  virtual void launch(const RunnerStep& step) = 0;
  // Waits for it; one token per sample row, in order.
  virtual std::span<const SampledToken> collect() = 0;
  // [P, E] of the step collected last: the final hidden state of each of batch.hidden_rows.
  virtual std::span<const float> hidden() const = 0;
};

}  // namespace sluice
