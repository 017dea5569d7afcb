#include "kernels/cuda/device_weight.h"

#include <algorithm>
#include <string>

#include "kernels/cuda/weight_upload.h"

namespace sluice::cuda {
namespace {

bool is_dense(const HostWeight& part) {
  return part.format == WeightFormat::kF32 || part.format == WeightFormat::kF16 ||
         part.format == WeightFormat::kBF16;
}

Status check_shape(const HostWeight& part, int64_t columns) {
  const auto facts = facts_of(part.format);
  const std::string what = "A " + std::string(facts.name) + " weight of " + std::to_string(part.rows) +
                           " by " + std::to_string(part.columns);
  if (part.columns != columns || columns <= 0 || part.rows <= 0 || columns % facts.block_weights != 0)
    return Error{ErrorCode::kCorrupt,
                 what + " cannot be: its rows fit neither its format nor its neighbours.", ""};
  const int unit = part.format == WeightFormat::kF8 ? 16 : 8;
  if (columns % unit != 0) {
    return Error{ErrorCode::kUnsupported,
                 what + " is not served on a GPU: its rows are no multiple of " + std::to_string(unit) +
                     "; use --device cpu.",
                 ""};
  }
  if (part.format == WeightFormat::kF8) SLUICE_TRY(check_scales(part, kFp8ScaleInputs));
  return {};
}

// Rows [first, first + count) of a part as they lie on the device: E4M3 as it is, the rest in bf16.
Status write_rows(const HostWeight& part, int64_t first, int64_t count, std::byte* to) {
  if (part.format == WeightFormat::kF8 || part.format == WeightFormat::kBF16)
    return copy_rows(part, first, count, to);
  std::vector<float> row(static_cast<size_t>(part.columns));
  auto* out = reinterpret_cast<bf16*>(to);
  for (int64_t r = first; r < first + count; ++r) {
    dequantize_row(part, r, row.data());
    for (const float v : row) (out++)->bits = f32_to_bf16(v);
  }
  return {};
}

// What a weight's parts are made of on the device; keeps the memory.
class Sender {
 public:
  Sender(std::vector<DeviceMemory>& memory, WeightUpload& upload) : memory_(memory), upload_(upload) {}
  size_t bytes() const { return bytes_; }

  template <class T>
  Result<const T*> send(std::span<const T> values) {
    SLUICE_ASSIGN(std::byte* const to, room(values.size_bytes()));
    SLUICE_TRY(upload_.send(to, values.data(), values.size_bytes()));
    return reinterpret_cast<const T*>(to);
  }

  // The rows of `parts`, one part behind the other, each of `row_bytes` bytes on the device.
  Result<const std::byte*> send_rows(std::span<const HostWeight> parts, size_t row_bytes) {
    std::vector<int64_t> begins = {0};  // of each part, and the end
    for (const HostWeight& part : parts) begins.push_back(begins.back() + part.rows);
    const size_t bytes = static_cast<size_t>(begins.back()) * row_bytes;
    SLUICE_ASSIGN(std::byte* const to, room(bytes));
    SLUICE_TRY(
        upload_.send(to, bytes, row_bytes, [&](size_t offset, size_t count, std::byte* piece) -> Status {
          auto row = static_cast<int64_t>(offset / row_bytes);
          const int64_t end = row + static_cast<int64_t>(count / row_bytes);
          for (size_t p = 0; p < parts.size(); ++p) {
            const int64_t rows = std::min(end, begins[p + 1]) - row;
            if (rows <= 0) continue;
            SLUICE_TRY(write_rows(parts[p], row - begins[p], rows, piece));
            piece += static_cast<size_t>(rows) * row_bytes;
            row += rows;
          }
          return {};
        }));
    return to;
  }

 private:
  Result<std::byte*> room(size_t bytes) {
    SLUICE_ASSIGN(DeviceMemory memory, DeviceMemory::allocate(bytes));
    bytes_ += bytes;
    memory_.push_back(std::move(memory));
    return memory_.back().get();
  }

  std::vector<DeviceMemory>& memory_;
  WeightUpload& upload_;
  size_t bytes_ = 0;
};

int64_t rows_of(std::span<const HostWeight> parts) {
  int64_t rows = 0;
  for (const HostWeight& part : parts) rows += part.rows;
  return rows;
}

Result<DenseMatrix> send_dense(std::span<const HostWeight> parts, Sender& sender) {
  DenseMatrix m{.outputs = static_cast<int>(rows_of(parts)), .inputs = static_cast<int>(parts[0].columns)};
  SLUICE_ASSIGN(const std::byte* const values,
                sender.send_rows(parts, static_cast<size_t>(m.inputs) * sizeof(bf16)));
  m.values = reinterpret_cast<const bf16*>(values);
  return m;
}

Result<QuantisedMatrix> send_quantised(const HostWeight& part, Sender& sender) {
  const PackedTiles packed = pack_tiles(part);
  QuantisedMatrix m{.layout = packed.layout, .outputs = packed.outputs, .inputs = packed.inputs};
  SLUICE_ASSIGN(m.tiles, sender.send(std::span(packed.tiles)));
  SLUICE_ASSIGN(m.row_scales, sender.send(std::span(packed.row_scales)));
  return m;
}

Result<Fp8Matrix> send_fp8(std::span<const HostWeight> parts, Sender& sender) {
  Fp8Matrix m{.outputs = static_cast<int>(rows_of(parts)), .inputs = static_cast<int>(parts[0].columns)};
  for (const HostWeight& part : parts) {
    if (part.scales.across > 1) m.groups = (m.inputs + kFp8ScaleInputs - 1) / kFp8ScaleInputs;
  }
  std::vector<float> scales;
  for (const HostWeight& part : parts) {
    for (int64_t r = 0; r < part.rows; ++r) {
      for (int64_t g = 0; g < m.groups; ++g) scales.push_back(part.scales.at(r, g * kFp8ScaleInputs));
    }
  }
  SLUICE_ASSIGN(m.scales, sender.send(std::span<const float>(scales)));
  SLUICE_ASSIGN(const std::byte* const values, sender.send_rows(parts, static_cast<size_t>(m.inputs)));
  m.values = reinterpret_cast<const fp8*>(values);
  return m;
}

// How many parts from the first on become one matrix.
template <class Fits>
size_t neighbours(std::span<const HostWeight> parts, const Fits& fits) {
  return static_cast<size_t>(std::ranges::find_if_not(parts, fits) - parts.begin());
}

}  // namespace

Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts, WeightUpload& upload) {
  SLUICE_CHECK(!parts.empty());
  for (const HostWeight& part : parts) SLUICE_TRY(check_shape(part, parts[0].columns));
  SLUICE_ASSIGN(const auto order, common_input_order(parts));
  auto weight = std::make_unique<DeviceWeight>(rows_of(parts), parts[0].columns);
  Sender sender(weight->memory_, upload);
  if (!order.empty()) {
    SLUICE_ASSIGN(weight->input_order_, sender.send(order));
  }
  int first_output = 0;
  while (!parts.empty()) {
    DeviceWeight::Part part;
    part.first_output = first_output;
    const auto is_f8 = [](const HostWeight& p) { return p.format == WeightFormat::kF8; };
    size_t taken = 1;
    if (is_dense(parts[0])) {
      taken = neighbours(parts, is_dense);
      SLUICE_ASSIGN(part.matrix, send_dense(parts.first(taken), sender));
    } else if (is_f8(parts[0])) {
      taken = neighbours(parts, is_f8);
      SLUICE_ASSIGN(part.matrix, send_fp8(parts.first(taken), sender));
    } else {
      SLUICE_ASSIGN(part.matrix, send_quantised(parts[0], sender));
    }
    parts = parts.subspan(taken);
    first_output += part.outputs();
    weight->parts_.push_back(part);
  }
  weight->bytes_ = sender.bytes();
  return std::unique_ptr<Weight>(std::move(weight));
}

}  // namespace sluice::cuda
