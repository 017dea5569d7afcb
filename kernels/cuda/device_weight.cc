#include "kernels/cuda/device_weight.h"

#include <string>

#include "kernels/quant_blocks.h"

namespace sluice::cuda {
namespace {

bool is_dense(WeightFormat format) {
  return format == WeightFormat::kF32 || format == WeightFormat::kF16 || format == WeightFormat::kBF16;
}

Status check_shape(const HostWeight& part, int64_t columns) {
  const auto facts = facts_of(part.format);
  const std::string what = "A " + std::string(facts.name) + " weight of " + std::to_string(part.rows) +
                           " by " + std::to_string(part.columns);
  if (part.columns != columns || columns <= 0 || part.rows <= 0 || columns % facts.block_weights != 0)
    return Error{ErrorCode::kCorrupt,
                 what + " cannot be: its rows fit neither its format nor its neighbours.", ""};
  if (columns % 8 != 0) {
    return Error{ErrorCode::kUnsupported,
                 what + " is not served on a GPU: its rows are no multiple of 8; use --device cpu.", ""};
  }
  return {};
}

void append_as_bf16(const HostWeight& part, std::vector<uint16_t>& out) {
  std::vector<float> row(static_cast<size_t>(part.columns));
  for (int64_t r = 0; r < part.rows; ++r) {
    const std::byte* const bytes = part.row(r);
    if (part.format == WeightFormat::kBF16) {
      const size_t at = out.size();
      out.resize(at + static_cast<size_t>(part.columns));
      std::memcpy(out.data() + at, bytes, part.row_bytes());
      continue;
    }
    dequantize(part.format, bytes, part.columns, row.data());
    for (const float v : row) out.push_back(f32_to_bf16(v));
  }
}

Result<DeviceMemory> send(const void* from, size_t bytes, Stream stream) {
  SLUICE_ASSIGN(DeviceMemory memory, DeviceMemory::allocate(bytes));
  copy_to_device(memory.get(), from, bytes, stream);
  synchronize(stream);  // `from` may go away
  return memory;
}

}  // namespace

Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts, Stream stream) {
  SLUICE_CHECK(!parts.empty());
  int64_t rows = 0;
  for (const HostWeight& part : parts) {
    SLUICE_TRY(check_shape(part, parts[0].columns));
    rows += part.rows;
  }
  auto weight = std::make_unique<DeviceWeight>(rows, parts[0].columns);
  const int inputs = static_cast<int>(parts[0].columns);
  int first_output = 0;
  for (size_t i = 0; i < parts.size();) {
    DeviceWeight::Part part;
    part.first_output = first_output;
    if (is_dense(parts[i].format)) {  // neighbours become one matrix
      std::vector<uint16_t> values;
      for (; i < parts.size() && is_dense(parts[i].format); ++i) append_as_bf16(parts[i], values);
      SLUICE_ASSIGN(DeviceMemory memory, send(values.data(), values.size() * sizeof(uint16_t), stream));
      part.dense = {memory.as<const bf16>(), static_cast<int>(values.size()) / inputs, inputs};
      weight->bytes_ += memory.bytes();
      weight->memory_.push_back(std::move(memory));
    } else {
      const PackedTiles packed = pack_tiles(parts[i++]);
      SLUICE_ASSIGN(DeviceMemory tiles, send(packed.tiles.data(), packed.tiles.size(), stream));
      SLUICE_ASSIGN(DeviceMemory scales,
                    send(packed.row_scales.data(), packed.row_scales.size() * sizeof(float), stream));
      part.quantised = {tiles.get(), scales.as<const float>(), packed.layout, packed.outputs, packed.inputs};
      weight->bytes_ += tiles.bytes() + scales.bytes();
      weight->memory_.push_back(std::move(tiles));
      weight->memory_.push_back(std::move(scales));
    }
    first_output += part.outputs();
    weight->parts_.push_back(part);
  }
  return std::unique_ptr<Weight>(std::move(weight));
}

}  // namespace sluice::cuda
