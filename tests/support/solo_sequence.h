// One sequence run straight through a Model, without scheduler or server: the world of model tests in three
// lines.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "models/model.h"

namespace sluice {

class SoloSequence {
 public:
  // Room for `capacity` tokens; blocks are handed out in a scrambled order, so that paging is exercised.
  SoloSequence(Model& model, Backend& backend, DType kv_dtype, int capacity);

  // Appends `ids` in one step and returns the logits after each of them: [ids][V].
  std::vector<std::vector<float>> append(const std::vector<int32_t>& ids);

 private:
  Model& model_;
  Backend& backend_;
  KvLayout layout_;
  std::vector<std::unique_ptr<Buffer>> memory_;
  std::vector<KvView> cache_;
  std::vector<int32_t> blocks_;
  int32_t length_ = 0;
};

}  // namespace sluice
