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

// What a weight's parts are made of on the device; keeps the memory.
class Sender {
 public:
  Sender(std::vector<DeviceMemory>& memory, Stream stream) : memory_(memory), stream_(stream) {}
  size_t bytes() const { return bytes_; }

  template <class T>
  Result<const T*> send(const void* from, size_t count) {
    SLUICE_ASSIGN(DeviceMemory memory, cuda::send(from, count * sizeof(T), stream_));
    bytes_ += memory.bytes();
    memory_.push_back(std::move(memory));
    return memory_.back().as<const T>();
  }

 private:
  std::vector<DeviceMemory>& memory_;
  const Stream stream_;
  size_t bytes_ = 0;
};

Result<QuantisedMatrix> send_quantised(const HostWeight& part, Sender& sender) {
  const PackedTiles packed = pack_tiles(part);
  QuantisedMatrix m{.layout = packed.layout, .outputs = packed.outputs, .inputs = packed.inputs};
  SLUICE_ASSIGN(m.tiles, sender.send<std::byte>(packed.tiles.data(), packed.tiles.size()));
  SLUICE_ASSIGN(m.row_scales, sender.send<float>(packed.row_scales.data(), packed.row_scales.size()));
  return m;
}

Result<Fp8Matrix> send_fp8(const HostWeight& part, Sender& sender) {
  Fp8Matrix m{.outputs = static_cast<int>(part.rows), .inputs = static_cast<int>(part.columns)};
  if (part.scales.across > 1) m.groups = (m.inputs + kFp8ScaleInputs - 1) / kFp8ScaleInputs;
  std::vector<float> scales;
  for (int64_t r = 0; r < part.rows; ++r) {
    for (int64_t g = 0; g < m.groups; ++g) scales.push_back(part.scales.at(r, g * kFp8ScaleInputs));
  }
  SLUICE_ASSIGN(m.scales, sender.send<float>(scales.data(), scales.size()));
  if (part.stored_columns == 0 || part.stored_columns == part.columns) {
    SLUICE_ASSIGN(m.values, sender.send<fp8>(part.bytes, static_cast<size_t>(part.rows * part.columns)));
    return m;
  }
  std::vector<std::byte> values;  // a part of each row
  for (int64_t r = 0; r < part.rows; ++r)
    values.insert(values.end(), part.row(r), part.row(r) + part.row_bytes());
  SLUICE_ASSIGN(m.values, sender.send<fp8>(values.data(), values.size()));
  return m;
}

}  // namespace

Result<std::unique_ptr<Weight>> load_device_weight(std::span<const HostWeight> parts, Stream stream) {
  SLUICE_CHECK(!parts.empty());
  int64_t rows = 0;
  for (const HostWeight& part : parts) {
    SLUICE_TRY(check_shape(part, parts[0].columns));
    rows += part.rows;
  }
  SLUICE_ASSIGN(const auto order, common_input_order(parts));
  auto weight = std::make_unique<DeviceWeight>(rows, parts[0].columns);
  if (!order.empty()) {
    SLUICE_ASSIGN(weight->input_order_, send(order.data(), order.size_bytes(), stream));
  }
  Sender sender(weight->memory_, stream);
  const int inputs = static_cast<int>(parts[0].columns);
  int first_output = 0;
  for (size_t i = 0; i < parts.size();) {
    DeviceWeight::Part part;
    part.first_output = first_output;
    if (is_dense(parts[i].format)) {  // neighbours become one matrix
      std::vector<uint16_t> values;
      for (; i < parts.size() && is_dense(parts[i].format); ++i) append_as_bf16(parts[i], values);
      DenseMatrix m{.outputs = static_cast<int>(values.size()) / inputs, .inputs = inputs};
      SLUICE_ASSIGN(m.values, sender.send<bf16>(values.data(), values.size()));
      part.matrix = m;
    } else if (parts[i].format == WeightFormat::kF8) {
      SLUICE_ASSIGN(part.matrix, send_fp8(parts[i++], sender));
    } else {
      SLUICE_ASSIGN(part.matrix, send_quantised(parts[i++], sender));
    }
    first_output += part.outputs();
    weight->parts_.push_back(part);
  }
  weight->bytes_ = sender.bytes();
  return std::unique_ptr<Weight>(std::move(weight));
}

}  // namespace sluice::cuda
