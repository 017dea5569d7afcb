// A weight on the device: its fused parts one after another along the outputs, dense parts in bf16, quantised
// ones in tiles. Read-only once made.
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/matmul.h"

namespace sluice::cuda {

class DeviceWeight final : public Weight {
 public:
  struct Part {
    int first_output = 0;
    DenseMatrix dense;  // values null: quantised
    QuantisedMatrix quantised;
    bool is_dense() const { return dense.values != nullptr; }
    int outputs() const { return is_dense() ? dense.outputs : quantised.outputs; }
  };

  DeviceWeight(int64_t rows, int64_t columns) : Weight(rows, columns) {}
  size_t bytes() const override { return bytes_; }
  const std::vector<Part>& parts() const { return parts_; }

 private:
  friend Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts, Stream stream);
  std::vector<Part> parts_;
  std::vector<DeviceMemory> memory_;
  size_t bytes_ = 0;
};

// kCorrupt for shapes that cannot be, kUnsupported for rows that the kernels do not take, kOutOfMemory.
Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts, Stream stream);

}  // namespace sluice::cuda
