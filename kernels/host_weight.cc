#include "kernels/host_weight.h"

#include <algorithm>
#include <string>

#include "kernels/quant_blocks.h"

namespace sluice {

void dequantize_row(const HostWeight& weight, int64_t row, float* out) {
  if (weight.format != WeightFormat::kF8)
    return dequantize(weight.format, weight.row(row), weight.columns, out);
  const std::byte* const values = weight.row(row);
  for (int64_t c = 0; c < weight.columns; ++c)
    out[c] = f8_to_f32(static_cast<uint8_t>(values[c])) * weight.scales.at(row, c);
}

Status check_scales(const HostWeight& weight, int64_t unit) {
  const WeightScales& s = weight.scales;
  if (s.across == 1 || (s.columns % unit == 0 && s.first_column % unit == 0)) return {};
  return Error{ErrorCode::kUnsupported,
               "An F8 weight has a scale for each " + std::to_string(s.columns) + " inputs, from input " +
                   std::to_string(s.first_column) + " on; served are multiples of " + std::to_string(unit) +
                   ", or one for all.",
               ""};
}

int common_zero(const HostWeight& weight) {
  const auto block = static_cast<size_t>(facts_of(weight.format).block_bytes);
  const std::byte zero = weight.bytes[kI4ZeroAt];
  for (int64_t r = 0; r < weight.rows; ++r) {
    const std::byte* const row = weight.row(r);
    for (size_t at = kI4ZeroAt; at < weight.row_bytes(); at += block) {
      if (row[at] != zero) return -1;
    }
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
