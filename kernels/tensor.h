// A view of device memory with a type and up to three dimensions, row-major; rows may be further apart than
// they are wide, so that a slice of columns is a view too. Owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "kernels/dtype.h"

namespace sluice {

struct TensorView {
  std::byte* bytes = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_stride = 0;  // in elements, >= columns

  static TensorView of(void* memory, DType dtype, int64_t rows, int64_t columns) {
    return {static_cast<std::byte*>(memory), dtype, rows, columns, columns};
  }

  template <class T>
  T* row(int64_t r) const {
    return reinterpret_cast<T*>(bytes) + r * row_stride;
  }
  float* f32(int64_t r = 0) const {
    SLUICE_CHECK(dtype == DType::kF32);
    return row<float>(r);
  }
  // Columns [first, first + count) of every row.
  TensorView slice(int64_t first, int64_t count) const {
    SLUICE_CHECK_LE(first + count, columns);
    return {bytes + first * static_cast<int64_t>(bytes_of(dtype)), dtype, rows, count, row_stride};
  }
  // The first `count` rows.
  TensorView head(int64_t count) const {
    SLUICE_CHECK_LE(count, rows);
    return {bytes, dtype, count, columns, row_stride};
  }
};

}  // namespace sluice
