// Qwen2 and Qwen2.5, dense (https://arxiv.org/abs/2407.10671): the common decoder with biases on q, k and v.
#include "models/decoder.h"
#include "models/registry.h"

namespace sluice {

Result<std::unique_ptr<Model>> load_qwen2(const ModelConfig& config, WeightLoader& loader) {
  return load_decoder(config, {.qkv_bias = true}, loader);
}

}  // namespace sluice
