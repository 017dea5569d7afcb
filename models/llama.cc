// Llama 2 and 3.x (https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783), Mistral, SmolLM2: the
// common decoder as it is. Some fine-tunes carry biases on q, k and v; they are taken when the file has them.
#include "models/decoder.h"
#include "models/registry.h"

namespace sluice {

Result<std::unique_ptr<Model>> load_llama(const ModelConfig& config, WeightLoader& loader) {
  return load_decoder(config, {.qkv_bias = loader.has("model.layers.0.self_attn.q_proj.bias")}, loader);
}

}  // namespace sluice
