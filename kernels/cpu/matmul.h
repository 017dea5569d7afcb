// Drives the matmul loops: brings the activations into the form that the weight's panels want, once, then
// shares the panels out over the threads. Owns the scratch for the activations. The backend's thread only.
#pragma once

#include <vector>

#include "kernels/cpu/packed_weight.h"

namespace sluice::cpu {

class MatmulRunner {
 public:
  MatmulRunner(const KernelTable& kernels, ThreadPool& pool) : kernels_(&kernels), pool_(&pool) {}
  void run(const PackedWeight& w, TensorView x, const float* bias, TensorView out);

 private:
  TensorView in_order(const PackedWeight& w, TensorView x);
  void prepare(const PackedWeight& w, TensorView x);
  void run_panels(const PackedWeight& w, TensorView x, const float* bias, TensorView out, int first_panel,
                  int last_panel, int64_t first_row, int64_t last_row) const;

  const KernelTable* kernels_;
  ThreadPool* pool_;
  std::vector<float> ordered_;         // [T, inputs], only for weights whose inputs were sorted
  std::vector<int8_t> values_;         // [T, inputs]
  std::vector<ActivationRun> runs32_;  // [T, inputs / 32]
  std::vector<ActivationRun> runs16_;  // [T, inputs / 16], only for weights that need it
  std::vector<uint16_t> rounded_;      // [T, inputs rounded up to 2]
};

}  // namespace sluice::cpu
