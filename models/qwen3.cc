// Qwen3, dense (https://arxiv.org/abs/2505.09388): the common decoder with an RMS norm over each query and
// key head before the rotation, and no biases.
#include "models/decoder.h"
#include "models/registry.h"

namespace sluice {

Result<std::unique_ptr<Model>> load_qwen3(const ModelConfig& config, WeightLoader& loader) {
  return load_decoder(config, {.head_norms = true}, loader);
}

}  // namespace sluice
