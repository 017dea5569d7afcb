// The decoder-only transformer the Llama family shares: embedding, layers of (norm, attention, norm, gated
// mlp), norm, head. An architecture file says how its layers are loaded; what differs is visible there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/layers.h"
#include "models/model.h"

namespace sluice {

// What an architecture adds to the common decoder.
struct DecoderTraits {
  bool qkv_bias = false;    // Qwen2; others when the file has the tensors
  bool head_norms = false;  // Qwen3: an RMS norm over each query and key head
};

Result<std::unique_ptr<Model>> load_decoder(const ModelConfig& config, const DecoderTraits& traits,
                                            WeightLoader& loader);

}  // namespace sluice
