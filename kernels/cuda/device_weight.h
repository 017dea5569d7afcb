// A weight on the device: its fused parts one after another along the outputs, dense parts in bf16, quantised
// ones in tiles, E4M3 as it lies in the file. Read-only once made.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matmul_fp8.h"
#include "kernels/cuda/weight_upload.h"

namespace sluice::cuda {

class DeviceWeight final : public Weight {
 public:
  struct Part {
    int first_output = 0;
    std::variant<DenseMatrix, QuantisedMatrix, Fp8Matrix> matrix;
    int outputs() const {
      return std::visit([](const auto& m) { return m.outputs; }, matrix);
    }
  };

  DeviceWeight(int64_t rows, int64_t columns) : Weight(rows, columns) {}
  size_t bytes() const override { return bytes_; }
  const std::vector<Part>& parts() const { return parts_; }
  // On the device: column c multiplies input input_order()[c]. Null: input c.
  const int32_t* input_order() const { return input_order_; }

 private:
  friend Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts,
                                                            WeightUpload& upload);
  std::vector<Part> parts_;
  std::vector<DeviceMemory> memory_;
  const int32_t* input_order_ = nullptr;
  size_t bytes_ = 0;
};

// kCorrupt for shapes that cannot be, kUnsupported for rows that the kernels do not take, kOutOfMemory.
Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts, WeightUpload& upload);

}  // namespace sluice::cuda
