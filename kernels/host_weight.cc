#include "kernels/host_weight.h"

#include <algorithm>

#include "kernels/quant_blocks.h"

namespace sluice {

void dequantize_row(const HostWeight& weight, int64_t row, float* out) {
  if (weight.format != WeightFormat::kF8)
    return dequantize(weight.format, weight.row(row), weight.columns, out);
  const std::byte* const values = weight.row(row);
  for (int64_t c = 0; c < weight.columns; ++c)
    out[c] = f8_to_f32(static_cast<uint8_t>(values[c])) * weight.scale(row, c);
}

int common_zero(const HostWeight& weight) {
  const auto block = static_cast<size_t>(facts_of(weight.format).block_bytes);
  const size_t bytes = weight.row_bytes() * static_cast<size_t>(weight.rows);
  const std::byte zero = weight.bytes[kI4ZeroAt];
  for (size_t at = kI4ZeroAt; at < bytes; at += block) {
    if (weight.bytes[at] != zero) return -1;
  }
  return static_cast<int>(zero);
}

Result<std::span<const int32_t>> common_input_order(std::span<const HostWeight> parts) {
  for (const HostWeight& part : parts) {
    if (!std::ranges::equal(part.input_order, parts[0].input_order)) {
      return Error{ErrorCode::kUnsupported,
                   "The matrices that are fused into one (queries, keys and values, or gate and up) are "
                   "quantised with different orders of their inputs (g_idx), which is not served.",
                   ""};
    }
  }
  return parts[0].input_order;
}

}  // namespace sluice
