// One tensor as it lies in a model file, found and bounded by the file's reader; and the two forms in which
// layers take it. Views only: the bytes belong to the file's mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice {

struct StoredTensor {
  std::string name;
  WeightFormat format = WeightFormat::kF32;
  int64_t rows = 0;                  // the product of all dimensions but the fastest; 1 for a vector
  int64_t columns = 0;               // the fastest dimension; > 0, a multiple of the format's block
  std::span<const std::byte> bytes;  // exactly rows * columns weights
};

// Bytes of rows * columns weights; nullopt when that overflows or columns is not a multiple of the format's
// block.
std::optional<uint64_t> stored_bytes(WeightFormat format, uint64_t rows, uint64_t columns);

// kCorrupt when the tensor has another shape. `file` is for the message.
Result<HostWeight> as_matrix(const StoredTensor& tensor, int64_t rows, int64_t columns,
                             const std::string& file);
// Converted to f32. kUnsupported for quantised vectors: no known converter writes them.
Result<std::vector<float>> as_vector(const StoredTensor& tensor, int64_t length, const std::string& file);

// All its values in f32, row after row; otherwise as as_vector.
Result<std::vector<float>> flat_values(const StoredTensor& tensor, const std::string& file);

// Sorts by name; the name that occurs twice, if any.
std::optional<std::string> sort_by_name(std::vector<StoredTensor>& tensors);
// Null when there is none. `tensors` are sorted.
const StoredTensor* find_tensor(const std::vector<StoredTensor>& tensors, std::string_view name);

}  // namespace sluice
