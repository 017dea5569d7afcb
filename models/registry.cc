#include "models/registry.h"

#include <string>

namespace sluice {

std::span<const Architecture> architectures() {
  static constexpr Architecture kAll[] = {
      {"llama", load_llama},
      {"qwen2", load_qwen2},
      {"qwen3", load_qwen3},
  };
  return kAll;
}

Result<std::unique_ptr<Model>> load_model(const ModelConfig& config, const TensorSource& tensors,
                                          Backend& backend, const LoadModelOptions& options) {
  SLUICE_TRY(check(config));
  std::string known;
  for (const auto& architecture : architectures()) {
    if (architecture.name == config.architecture) {
      SLUICE_ASSIGN(const Sharding sharding, Sharding::of(config, tensors, backend.rank()));
      WeightLoader loader(tensors, backend, sharding, options);
      return architecture.load(config, loader);
    }
    known += (known.empty() ? "" : ", ") + std::string(architecture.name);
  }
  return Error{ErrorCode::kUnsupported,
               "The model's architecture is '" + config.architecture + "'; this build knows " + known + "."};
}

}  // namespace sluice
