// Which architectures there are, by the name ModelConfig carries. One line each; each has a short file of its
// own.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "models/layers.h"
#include "models/model.h"

namespace sluice {

using LoadArchitecture = Result<std::unique_ptr<Model>> (*)(const ModelConfig& config, WeightLoader& loader);

struct Architecture {
  std::string_view name;
  LoadArchitecture load;
};

Result<std::unique_ptr<Model>> load_llama(const ModelConfig& config, WeightLoader& loader);
Result<std::unique_ptr<Model>> load_qwen2(const ModelConfig& config, WeightLoader& loader);
Result<std::unique_ptr<Model>> load_qwen3(const ModelConfig& config, WeightLoader& loader);

std::span<const Architecture> architectures();

}  // namespace sluice
