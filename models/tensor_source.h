// Named tensors of an opened model, by their Hugging Face names ("model.layers.0.self_attn.q_proj.weight"); a
// GGUF source translates. The views stay valid as long as the source lives (the files are mapped, not
// copied). Read-only: any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool has(std::string_view name) const = 0;
  // kCorrupt when the tensor is missing or has a shape that cannot be; the message names it and the file.
  virtual Result<HostWeight> matrix(std::string_view name, int64_t rows, int64_t columns) const = 0;
  // That matrix's format, where it must be converted without doing so.
  virtual Result<WeightFormat> format(std::string_view name, int64_t rows, int64_t columns) const {
    SLUICE_ASSIGN(const HostWeight weight, matrix(name, rows, columns));
    return weight.format;
  }
  // A vector of `length` f32 values, converted (norm scales, biases).
  virtual Result<std::vector<float>> vector(std::string_view name, int64_t length) const = 0;
  virtual size_t total_bytes() const = 0;
};

}  // namespace sluice
