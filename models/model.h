// A loaded model: weights packed for one backend, and the forward pass over a ragged batch. Engine thread (or
// its rank's).
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "models/tensor_source.h"

namespace sluice {

// Where a step's results go; untouched where the batch asks for no row.
struct StepOutputs {
  TensorView logits;  // [R, V] f32, of batch.sample_rows
  TensorView hidden;  // [P, E] f32, after the last norm, of batch.hidden_rows
};

class Model {
 public:
  virtual ~Model() = default;
  const ModelConfig& config() const { return config_; }
  // With the heads and the mlp width of the backend's rank (models/sharding.h); for one rank the same.
  const ModelConfig& held() const { return held_; }

  // Runs every token of the batch and writes their keys and values into `cache` (one view per layer). The
  // batch is already staged.
  virtual void forward(const StepBatch& batch, std::span<const KvView> cache, const StepOutputs& out) = 0;

  virtual size_t weight_bytes() const = 0;

 protected:
  Model(ModelConfig config, ModelConfig held) : config_(std::move(config)), held_(std::move(held)) {}
  const ModelConfig config_, held_;
};

struct LoadModelOptions {
  int max_tokens_per_step = 2048;  // the largest T `forward` will see; sizes the activations
  int max_rows_to_sample = 256;    // the largest R
  std::function<void(double fraction)> on_progress;  // called from the loading thread, rising to 1
};

// Packs the weights for `backend`, which must outlive the model: of several ranks, its own part.
// kUnsupported for an unknown architecture, with the list of known ones.
Result<std::unique_ptr<Model>> load_model(const ModelConfig& config, const TensorSource& tensors,
                                          Backend& backend, const LoadModelOptions& options);

}  // namespace sluice
