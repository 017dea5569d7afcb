#include "models/stored_tensor.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace sluice {
namespace {

Error wrong_shape(const StoredTensor& tensor, int64_t rows, int64_t columns, const std::string& file) {
  return Error{ErrorCode::kCorrupt, "'" + file + "': tensor '" + log::safe(tensor.name) + "' is " +
                                        std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns) +
                                        ", but the model's configuration makes it " + std::to_string(rows) +
                                        " x " + std::to_string(columns) + "."};
}

}  // namespace

std::optional<uint64_t> stored_bytes(WeightFormat format, uint64_t rows, uint64_t columns) {
  const auto facts = facts_of(format);
  if (columns % static_cast<uint64_t>(facts.block_weights) != 0) return std::nullopt;
  uint64_t bytes = columns / static_cast<uint64_t>(facts.block_weights);
  if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(facts.block_bytes), &bytes)) return std::nullopt;
  if (__builtin_mul_overflow(bytes, rows, &bytes)) return std::nullopt;
  return bytes;
}

Result<HostWeight> as_matrix(const StoredTensor& tensor, int64_t rows, int64_t columns,
                             const std::string& file) {
  if (tensor.rows != rows || tensor.columns != columns) return wrong_shape(tensor, rows, columns, file);
  return HostWeight{tensor.bytes.data(), tensor.format, rows, columns};
}

Result<std::vector<float>> as_vector(const StoredTensor& tensor, int64_t length, const std::string& file) {
  if (tensor.rows != 1 || tensor.columns != length) return wrong_shape(tensor, 1, length, file);
  std::vector<float> values(static_cast<size_t>(length));
  const auto convert = [&](float (*to_f32)(uint16_t)) {
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t bits;
      std::memcpy(&bits, tensor.bytes.data() + i * sizeof(bits), sizeof(bits));
      values[i] = to_f32(bits);
    }
  };
  switch (tensor.format) {
    case WeightFormat::kF32:
      std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(float));
      break;
    case WeightFormat::kF16:
      convert(f16_to_f32);
      break;
    case WeightFormat::kBF16:
      convert(bf16_to_f32);
      break;
    default:
      return Error{ErrorCode::kUnsupported,
                   "'" + file + "': tensor '" + log::safe(tensor.name) + "' is a vector of type " +
                       std::string(facts_of(tensor.format).name) + "; vectors are read as F32, F16 or BF16."};
  }
  return values;
}

Result<std::vector<float>> flat_values(const StoredTensor& tensor, const std::string& file) {
  StoredTensor flat = tensor;
  flat.rows = 1;
  flat.columns = tensor.rows * tensor.columns;
  return as_vector(flat, flat.columns, file);
}

std::optional<std::string> sort_by_name(std::vector<StoredTensor>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice == tensors.end()) return std::nullopt;
  return twice->name;
}

const StoredTensor* find_tensor(const std::vector<StoredTensor>& tensors, std::string_view name) {
  const auto at =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const StoredTensor& tensor, std::string_view key) { return tensor.name < key; });
  return at != tensors.end() && at->name == name ? &*at : nullptr;
}

}  // namespace sluice
