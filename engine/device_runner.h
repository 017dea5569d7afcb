// The runner of a real model on one device: stage, forward, sample. Owns the backend, the model, the KV cache
// and the logits. Of several ranks, those but the first sample only where steps follow one another on the
// device, whose next step needs the tokens there; their tokens are not read. Engine thread only, or its
// rank's.
#pragma once

#include <memory>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/model_runner.h"
#include "engine/options.h"
#include "kernels/backend.h"
#include "models/model.h"

namespace sluice {

class DeviceRunner final : public ModelRunner {
 public:
  // `model` was loaded for `backend` with max_tokens_per_step >= options.max_num_batched_tokens and
  // max_rows_to_sample >= options.max_num_seqs. Checks the options, fills in max_model_len 0 with the model's
  // own context length, makes the KV cache. `eos_ids`: every id that ends an answer.
  // Of several ranks, `block_count` is what all agreed upon; 0: as many blocks as are fitting.
  static Result<std::unique_ptr<ModelRunner>> make(const EngineOptions& options, std::vector<int32_t> eos_ids,
                                                   std::unique_ptr<Backend> backend,
                                                   std::unique_ptr<Model> model, int64_t block_count = 0);
  // Of the KV cache that would be made.
  static Result<KvCacheSize> cache_size(const EngineOptions& options, const Backend& backend,
                                        const Model& model);

  const RunnerFacts& facts() const override { return facts_; }
  void launch(const StepBatch& batch) override;
  void sample(std::span<const SamplingRow> rows) override;
  std::span<const SampledToken> collect() override;
  std::span<const float> hidden() const override { return std::span(hidden_).first(hidden_collected_); }

 private:
  DeviceRunner() = default;

  RunnerFacts facts_;
  bool samples_ = true;
  std::unique_ptr<Backend> backend_;  // first: the others live in its memory
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Buffer> logits_;            // [max_sequences, V] f32
  std::unique_ptr<Buffer> hidden_on_device_;  // [max_tokens_per_step, E]
  struct Step {
    size_t rows = 0, hidden = 0;
    std::vector<SampledToken> tokens;  // [max_sequences]
  };
  Step& step(size_t number) { return steps_[number % steps_.size()]; }
  std::vector<Step> steps_;                            // a ring, as many as may be in flight
  size_t launched_ = 0, sampled_ = 0, collected_ = 0;  // since the start
  std::vector<float> hidden_;                          // as many as on the device
  size_t hidden_collected_ = 0;
};

}  // namespace sluice
