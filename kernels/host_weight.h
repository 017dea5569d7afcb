// A weight on its way from a model file to a device. Views, but for what had to be converted: that lives as
// long as the value does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/result.h"
#include "kernels/dtype.h"

namespace sluice {

// How E4M3 weights are scaled: weight [r, c] is its value times
//   values[(first_row + r) / rows][(first_column + c) / columns],
// `across` of them for each row of blocks.
struct WeightScales {
  const float* values = nullptr;
  int64_t rows = 1, columns = 1;  // of a block
  int64_t across = 1;
  int64_t first_row = 0, first_column = 0;

  float at(int64_t r, int64_t c) const {
    return values[(first_row + r) / rows * across + (first_column + c) / columns];
  }
};

// Where bytes of a file's mapping can also be read from: a file that stays open as long as the mapping.
struct FileBytes {
  int descriptor = -1;  // -1: from memory alone
  int64_t offset = 0;
  std::string_view path;
};

// A matrix [rows = outputs, columns = inputs] as it lies in a model file, row after row, blocks along the
// columns; or a part of one, whose rows are further apart than they are long.
struct HostWeight {
  const std::byte* bytes = nullptr;
  WeightFormat format = WeightFormat::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stored_columns = 0;  // from one row's first weight to the next one's; 0: `columns`

  WeightScales scales;  // kF8 only
  FileBytes file;       // of the first weight

  // Where the columns were sorted (GPTQ's desc_act): column c multiplies input input_order[c] of an
  // activation. Empty: they were not. A permutation of [0, columns).
  std::span<const int32_t> input_order;

  // Keeps alive what the views above show, where it is not a file's mapping.
  std::shared_ptr<const void> owner;

  size_t row_bytes() const { return bytes_of_columns(columns); }
  const std::byte* row(int64_t r) const {
    return bytes + static_cast<size_t>(r) * bytes_of_columns(stored_columns > 0 ? stored_columns : columns);
  }
  // Rows [first, first + count).
  HostWeight row_slice(int64_t first, int64_t count) const {
    SLUICE_CHECK_LE(first + count, rows);
    HostWeight slice = *this;
    slice.move_to(row(first));
    slice.rows = count;
    slice.scales.first_row += first;
    return slice;
  }
  // Columns [first, first + count) of every row; both at the bounds of blocks. Of columns in the order of the
  // inputs only.
  HostWeight column_slice(int64_t first, int64_t count) const {
    SLUICE_CHECK_LE(first + count, columns);
    SLUICE_CHECK_EQ(first % facts_of(format).block_weights, 0);
    SLUICE_CHECK_EQ(count % facts_of(format).block_weights, 0);
    SLUICE_CHECK(input_order.empty());
    HostWeight slice = *this;
    slice.move_to(bytes + bytes_of_columns(first));
    slice.columns = count;
    slice.stored_columns = stored_columns > 0 ? stored_columns : columns;
    slice.scales.first_column += first;
    return slice;
  }

 private:
  void move_to(const std::byte* first) {
    file.offset += first - bytes;
    bytes = first;
  }
  size_t bytes_of_columns(int64_t count) const {
    const auto f = facts_of(format);
    return static_cast<size_t>(count / f.block_weights) * f.block_bytes;
  }
};

// Rows [first, first + count) as they lie, one behind the other, read from the file where there is one: that
// maps no pages. kIo and kCorrupt name the file.
Status copy_rows(const HostWeight& weight, int64_t first, int64_t count, std::byte* to);

// One row as f32, in the weight's own order of columns.
void dequantize_row(const HostWeight& weight, int64_t row, float* out);

// kF8: whether each `unit` inputs share a scale; kUnsupported says what there is instead.
Status check_scales(const HostWeight& weight, int64_t unit);

// kI4_32 and kI4_64: the zero that all groups share, -1 where they do not.
int common_zero(const HostWeight& weight);

// The order of inputs that all parts of a weight share; kUnsupported where they differ.
Result<std::span<const int32_t>> common_input_order(std::span<const HostWeight> parts);

}  // namespace sluice
