// What transformer decoders have in common, as small pieces an architecture file puts together: a linear map,
// a norm, the attention and mlp halves of a layer, and the scratch they share. Knows the Backend contract and
// nothing below it.
//
// Activations of one step are rows of a few buffers that live as long as the model; no step allocates.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "models/model.h"
#include "models/model_config.h"
#include "models/sharding.h"
#include "models/tensor_source.h"

namespace sluice {

// Reads weights by name and packs what the backend's rank holds of them; keeps count for the progress bar.
// Used while loading only.
class WeightLoader {
 public:
  WeightLoader(const TensorSource& tensors, Backend& backend, const Sharding& sharding,
               const LoadModelOptions& options)
      : tensors_(tensors), backend_(backend), sharding_(sharding), options_(options) {}

  struct Part {
    std::string name;
    int64_t rows;                  // of the whole
    std::string_view held_as = {};  // whose line in the table of sharding.h is its; empty: its name's
  };
  // Several matrices stacked into one: Q, K and V; gate and up. `columns`: of the whole.
  Result<std::unique_ptr<Weight>> matrix(std::span<const Part> parts, int64_t columns);
  // f32 values on the device; parts follow one another.
  Result<std::unique_ptr<Buffer>> vector(std::span<const Part> parts);

  Backend& backend() { return backend_; }
  const Sharding& sharding() const { return sharding_; }
  const LoadModelOptions& options() const { return options_; }
  bool has(std::string_view name) const { return tensors_.has(name); }
  size_t packed_bytes() const { return packed_bytes_; }

 private:
  const TensorSource& tensors_;
  Backend& backend_;
  const Sharding& sharding_;
  const LoadModelOptions& options_;
  size_t file_bytes_done_ = 0;
  size_t packed_bytes_ = 0;
};

// The activations of a step. T and R grow to what the options allow, once. H, K and F are the rank's own.
struct Activations {
  TensorView residual;  // [T, E] the stream every layer adds to
  TensorView normed;    // [T, E]
  TensorView qkv;       // [T, (H + 2K) * D]
  TensorView attended;  // [T, H * D]
  TensorView gate_up;   // [T, 2F]
  TensorView gated;     // [T, F]
  TensorView delta;     // [T, E] what a half-layer adds
  TensorView angles;    // [T, D]
  TensorView last;      // [R, E] rows to sample, normed
  static Result<Activations> allocate(Backend& backend, const ModelConfig& config,
                                      const LoadModelOptions& options);
  // The same views cut to this step's T and R.
  Activations cut(int64_t tokens, int64_t sampled) const;
  std::shared_ptr<std::vector<std::unique_ptr<Buffer>>> memory;
};

struct Linear {
  std::unique_ptr<Weight> weight;
  std::unique_ptr<Buffer> bias;  // may be null
  void operator()(Backend& backend, TensorView x, TensorView out) const;
};

struct Norm {
  std::unique_ptr<Buffer> scale;
  float eps = 0;
  const float* values() const { return reinterpret_cast<const float*>(scale->data()); }
};

struct AttentionLayer {
  Linear qkv, output;
  Norm query_norm, key_norm;  // Qwen3; scale null elsewhere
};

struct GatedMlp {
  Linear gate_up, down;
};

struct DecoderLayer {
  Norm attention_norm, mlp_norm;
  AttentionLayer attention;
  GatedMlp mlp;
};

// A step's unchanging arguments, passed down instead of remembered.
struct StepArguments {
  Backend& backend;
  const ModelConfig& config;
  const AttentionShape& shape;
  const StepBatch& batch;
  const Activations& a;
};

// normed -> delta, summed over the ranks.
void attend(const StepArguments& step, const AttentionLayer& layer, const KvView& cache);
void gated_mlp(const StepArguments& step, const GatedMlp& layer);

// The frequencies each pair of a head turns with, after the model's scaling: [D/2]; and the factor on cos and
// sin. Linear: https://arxiv.org/abs/2306.15595; llama3: the formula of Llama 3.1's reference code; YaRN:
// https://arxiv.org/abs/2309.00071.
struct RopeFrequencies {
  std::vector<float> inverse;
  float attention_factor = 1.0F;
};
RopeFrequencies rope_frequencies(const RopeConfig& rope, int head_size);

}  // namespace sluice
