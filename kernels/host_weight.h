// A weight on its way from a model file to a device. Views, but for what had to be converted: that lives as
// long as the value does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/dtype.h"

namespace sluice {

// A matrix [rows = outputs, columns = inputs] as it lies in a model file, row after row, blocks along the
// columns.
struct HostWeight {
  const std::byte* bytes = nullptr;
  WeightFormat format = WeightFormat::kF32;
  int64_t rows = 0;
  int64_t columns = 0;

  // kF8 only: weight [r, c] is its value times scales[r / scale_rows][c / scale_columns], the last ones of
  // each kind being for what is left.
  const float* scales = nullptr;
  int64_t scale_rows = 1, scale_columns = 1;

  // Where the columns were sorted (GPTQ's desc_act): column c multiplies input input_order[c] of an
  // activation. Empty: they were not. A permutation of [0, columns).
  std::span<const int32_t> input_order;

  // Keeps alive what the views above show, where it is not a file's mapping.
  std::shared_ptr<const void> owner;

  size_t row_bytes() const {
    const auto f = facts_of(format);
    return static_cast<size_t>(columns / f.block_weights) * f.block_bytes;
  }
  const std::byte* row(int64_t r) const { return bytes + static_cast<size_t>(r) * row_bytes(); }
  float scale(int64_t r, int64_t c) const {
    return scales[r / scale_rows * ((columns + scale_columns - 1) / scale_columns) + c / scale_columns];
  }
};

// One row as f32, in the weight's own order of columns.
void dequantize_row(const HostWeight& weight, int64_t row, float* out);

// kI4_32 and kI4_64: the zero that all groups share, -1 where they do not.
int common_zero(const HostWeight& weight);

// The order of inputs that all parts of a weight share; kUnsupported where they differ.
Result<std::span<const int32_t>> common_input_order(std::span<const HostWeight> parts);

}  // namespace sluice
