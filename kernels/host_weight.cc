#include "kernels/host_weight.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "kernels/quant_blocks.h"

namespace sluice {

namespace {

Status read_fully(const FileBytes& file, int64_t offset, std::byte* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t count = ::pread(file.descriptor, to, bytes, offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return Error{ErrorCode::kIo,
                   "'" + std::string(file.path) + "' cannot be read: " + std::strerror(errno) + ".", ""};
    }
    if (count == 0) {
      return Error{ErrorCode::kCorrupt, "'" + std::string(file.path) + "' became shorter while it was read.",
                   ""};
    }
    to += count;
    offset += count;
    bytes -= static_cast<size_t>(count);
  }
  return {};
}

}  // namespace

Status copy_rows(const HostWeight& weight, int64_t first, int64_t count, std::byte* to) {
  const size_t row_bytes = weight.row_bytes();
  const bool neighbours = weight.stored_columns == 0 || weight.stored_columns == weight.columns;
  const size_t piece = neighbours ? row_bytes * static_cast<size_t>(count) : row_bytes;
  for (int64_t row = first; row < first + count; row += neighbours ? count : 1, to += piece) {
    const std::byte* const from = weight.row(row);
    if (weight.file.descriptor >= 0)
      SLUICE_TRY(read_fully(weight.file, weight.file.offset + (from - weight.bytes), to, piece));
    else
      std::memcpy(to, from, piece);
  }
  return {};
}

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
