#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "kernels/quant_blocks.h"

namespace sluice::cpu {
namespace {

// How a file's format lies in panels. `add` brings its decoded integers (quant_blocks.h) to unsigned stored
// ones.
struct PackedForm {
  PanelFormat format;
  int add = 0;
};

PackedForm packed_form(const HostWeight& weight) {
  switch (weight.format) {
    case WeightFormat::kF32:
      return {PanelFormat::kF32};
    case WeightFormat::kF16:
      return {PanelFormat::kF16};
    case WeightFormat::kBF16:
      return {PanelFormat::kBF16};
    case WeightFormat::kQ4_0:
      return {PanelFormat::kNibble, 0};
    case WeightFormat::kQ4_1:
    case WeightFormat::kQ4_K:
      return {PanelFormat::kNibbleMin, 0};
    case WeightFormat::kQ5_0:
      return {PanelFormat::kByte, 128 - 16};
    case WeightFormat::kQ8_0:
      return {PanelFormat::kByte, 128};
    case WeightFormat::kQ5_1:
    case WeightFormat::kQ5_K:
      return {PanelFormat::kByteMin, 0};
    case WeightFormat::kQ2_K:
      return {PanelFormat::kNibbleMin16, 0};
    case WeightFormat::kQ3_K:
      return {PanelFormat::kNibble16, 4 + 4};
    case WeightFormat::kQ6_K:
      return {PanelFormat::kByte16, 128};
    // Exact but for scales that f16 cannot hold; with zeros of their own, -zero * scale is rounded to f16
    // too.
    case WeightFormat::kI4_32:
    case WeightFormat::kI4_64:
      return {common_zero(weight) == 8 ? PanelFormat::kNibble : PanelFormat::kNibbleMin, 0};
    case WeightFormat::kF8:
      return {PanelFormat::kF8};
  }
  return {PanelFormat::kF32};
}

bool is_nibble(PanelFormat f) {
  return f == PanelFormat::kNibble || f == PanelFormat::kNibbleMin || f == PanelFormat::kNibble16 ||
         f == PanelFormat::kNibbleMin16;
}
bool has_min(PanelFormat f) {
  return f == PanelFormat::kNibbleMin || f == PanelFormat::kByteMin || f == PanelFormat::kNibbleMin16;
}
int zero_point(PanelFormat f) {
  return has_min(f) ? 0 : is_nibble(f) ? 8 : 128;
}
int64_t value_bytes(PanelFormat f) {
  return is_nibble(f) ? 256 : 512;
}
int64_t group_bytes(PanelFormat f) {
  return value_bytes(f) + kGroupInputs / run_inputs(f) * 32 * (has_min(f) ? 2 : 1);
}

int64_t panel_bytes(PanelFormat f, int64_t columns) {
  switch (f) {
    case PanelFormat::kF32:
      return columns * 64;
    case PanelFormat::kF16:
      return columns * 32;
    case PanelFormat::kBF16:
      return (columns + 1) / 2 * 64;
    case PanelFormat::kF8:
      return (columns + kF8ScaleInputs - 1) / kF8ScaleInputs * 64 + columns * kPanelColumns;
    default:
      return columns / kGroupInputs * group_bytes(f);
  }
}

// The formats of most models, straight from the file's block to the panel: the nibbles of a block are already
// in the panel's order within each 32-bit lane.
void place_q4_block(const uint8_t* block, bool with_min, uint8_t* group, int lane) {
  std::memcpy(group + 256 + 2 * lane, block, 2);
  if (with_min) std::memcpy(group + 288 + 2 * lane, block + 2, 2);
  const uint8_t* nibbles = block + (with_min ? 4 : 2);
  for (int z = 0; z < 4; ++z) std::memcpy(group + 64 * z + 4 * lane, nibbles + 4 * z, 4);
}

void place_q8_block(const uint8_t* block, uint8_t* group, int lane) {
  std::memcpy(group + 512 + 2 * lane, block, 2);
  for (int z = 0; z < 8; ++z) {
    uint32_t four;
    std::memcpy(&four, block + 2 + 4 * z, 4);
    four ^= 0x80808080U;  // adds 128 to each signed byte
    std::memcpy(group + 64 * z + 4 * lane, &four, 4);
  }
}

void store_half(uint8_t* to, float value) {
  const uint16_t half = f32_to_f16(value);
  std::memcpy(to, &half, 2);
}

void place_i4_block(const uint8_t* block, int groups, PanelFormat form, uint8_t* panel, int lane) {
  float scale;
  std::memcpy(&scale, block, 4);
  const float minimum = -scale * static_cast<float>(block[kI4ZeroAt]);
  for (int g = 0; g < groups; ++g) {
    uint8_t* const group = panel + g * group_bytes(form);
    for (int z = 0; z < 4; ++z)
      std::memcpy(group + 64 * z + 4 * lane, block + kI4ValuesAt + 16 * g + 4 * z, 4);
    store_half(group + 256 + 2 * lane, scale);
    if (has_min(form)) store_half(group + 288 + 2 * lane, minimum);
  }
}

// Where the scale of an f8 panel's input lies, and its value.
int64_t f8_scales_at(int64_t input) {
  return input / kF8ScaleInputs * (64 + kF8ScaleInputs * kPanelColumns);
}
int64_t f8_value_at(int64_t input, int lane) {
  return f8_scales_at(input) + 64 + input % kF8ScaleInputs / 2 * 32 + 2 * lane + input % 2;
}

void pack_f8_row(const HostWeight& part, int64_t row, uint8_t* panel, int lane) {
  const std::byte* const values = part.row(row);
  for (int64_t i = 0; i < part.columns; ++i) {
    if (i % kF8ScaleInputs == 0) {
      const float scale = 256 * part.scales.at(row, i);
      std::memcpy(panel + f8_scales_at(i) + 4 * lane, &scale, 4);
    }
    panel[f8_value_at(i, lane)] = static_cast<uint8_t>(values[i]);
  }
}

// Any other quantised format through its decoded runs of 16. Two runs fill a group; formats whose scale spans
// 32 weights have it in both.
void place_runs(const QuantRun* runs, PackedForm form, uint8_t* group, int lane) {
  const int group_runs = kGroupInputs / run_inputs(form.format);
  uint8_t* scales = group + value_bytes(form.format);
  for (int r = 0; r < 2; ++r) {
    if (r < group_runs) {
      store_half(scales + 32 * r + 2 * lane, runs[r].scale);
      if (has_min(form.format)) store_half(scales + 32 * (group_runs + r) + 2 * lane, runs[r].offset);
    }
    for (int j = 0; j < 16; ++j) {
      const auto stored = static_cast<uint8_t>(runs[r].q[j] + form.add);
      if (is_nibble(form.format)) {
        uint8_t& byte = group[64 * (j / 4) + 4 * lane + j % 4];
        byte = static_cast<uint8_t>(byte | (r == 0 ? stored : stored << 4));
      } else {
        group[64 * (4 * r + j / 4) + 4 * lane + j % 4] = stored;
      }
    }
  }
}

void pack_quantised_row(WeightFormat format, PackedForm form, const std::byte* row, int64_t columns,
                        uint8_t* panel, int lane) {
  const auto facts = facts_of(format);
  const int64_t step = group_bytes(form.format);
  const auto* block = reinterpret_cast<const uint8_t*>(row);
  const int64_t blocks = columns / facts.block_weights;
  switch (format) {
    case WeightFormat::kQ4_0:
    case WeightFormat::kQ4_1:
      for (int64_t b = 0; b < blocks; ++b, block += facts.block_bytes, panel += step) {
        place_q4_block(block, format == WeightFormat::kQ4_1, panel, lane);
      }
      return;
    case WeightFormat::kQ8_0:
      for (int64_t b = 0; b < blocks; ++b, block += facts.block_bytes, panel += step)
        place_q8_block(block, panel, lane);
      return;
    case WeightFormat::kI4_32:
    case WeightFormat::kI4_64: {
      const int groups = facts.block_weights / kGroupInputs;
      for (int64_t b = 0; b < blocks; ++b, block += facts.block_bytes, panel += groups * step)
        place_i4_block(block, groups, form.format, panel, lane);
      return;
    }
    default:
      break;
  }
  QuantRun runs[16];
  for (int64_t b = 0; b < blocks; ++b, block += facts.block_bytes) {
    unpack_block(format, reinterpret_cast<const std::byte*>(block), runs);
    for (int g = 0; g < facts.block_weights / kGroupInputs; ++g, panel += step)
      place_runs(runs + 2 * g, form, panel, lane);
  }
}

void pack_panel(const HostWeight& part, PackedForm form, int64_t first_row, uint8_t* panel) {
  const int lanes = static_cast<int>(std::min<int64_t>(kPanelColumns, part.rows - first_row));
  for (int lane = 0; lane < lanes; ++lane) {
    const std::byte* row = part.row(first_row + lane);
    if (form.format == PanelFormat::kF8) {
      pack_f8_row(part, first_row + lane, panel, lane);
      continue;
    }
    if (is_quantised(form.format)) {
      pack_quantised_row(part.format, form, row, part.columns, panel, lane);
      continue;
    }
    const size_t element = part.format == WeightFormat::kF32 ? 4 : 2;
    for (int64_t i = 0; i < part.columns; ++i) {
      const int64_t place = form.format == PanelFormat::kBF16 ? i / 2 * 32 + 2 * lane + i % 2 : i * 16 + lane;
      std::memcpy(panel + static_cast<size_t>(place) * element, row + static_cast<size_t>(i) * element,
                  element);
    }
  }
}

}  // namespace

Result<std::unique_ptr<Weight>> pack_weight(std::span<const HostWeight> parts, Arena& arena,
                                            ThreadPool& pool) {
  SLUICE_CHECK(!parts.empty());
  int64_t rows = 0;
  const int64_t columns = parts[0].columns;
  for (const auto& part : parts) {
    const auto facts = facts_of(part.format);
    if (part.columns != columns || columns <= 0 || part.rows <= 0 || columns % facts.block_weights != 0) {
      return Error{ErrorCode::kCorrupt,
                   "A " + std::string(facts.name) + " weight of " + std::to_string(part.rows) + " by " +
                       std::to_string(part.columns) + " cannot be: rows of this format are multiples of " +
                       std::to_string(facts.block_weights) + " long, and fused parts equally long."};
    }
    rows += part.rows;
  }
  SLUICE_ASSIGN(const auto order, common_input_order(parts));
  auto weight = std::make_unique<PackedWeight>(rows, columns);
  weight->input_order_.assign(order.begin(), order.end());
  std::vector<PackedForm> forms;
  int64_t first_row = 0;
  for (const auto& part : parts) {
    Segment s;
    if (part.format == WeightFormat::kF8) SLUICE_TRY(check_scales(part, kF8ScaleInputs));
    forms.push_back(packed_form(part));
    s.format = forms.back().format;
    s.panel_bytes = panel_bytes(s.format, columns);
    s.panel_count = static_cast<int>((part.rows + kPanelColumns - 1) / kPanelColumns);
    s.first_row = first_row;
    s.rows = part.rows;
    first_row += part.rows;
    weight->bytes_ += static_cast<size_t>(s.panel_bytes) * static_cast<size_t>(s.panel_count);
    weight->panel_count_ += s.panel_count;
    weight->any_quantised_ |= is_quantised(s.format);
    weight->any_run16_ |= is_quantised(s.format) && run_inputs(s.format) == 16;
    weight->any_bf16_ |= s.format == PanelFormat::kBF16;
    weight->any_f32_ |= s.format == PanelFormat::kF32 || s.format == PanelFormat::kF16;
    weight->segments_.push_back(s);
  }
  weight->memory_ = arena.take(weight->bytes_);
  if (weight->memory_.data == nullptr) {
    return Error{ErrorCode::kOutOfMemory, "There is no memory for a packed weight of " +
                                              std::to_string(weight->bytes_ >> 20) +
                                              " MB; use a smaller model or a machine with more memory."};
  }
  auto* at = reinterpret_cast<uint8_t*>(weight->memory_.data);
  for (size_t p = 0; p < parts.size(); ++p) {
    Segment& s = weight->segments_[p];
    s.panels = at;
    const PackedForm form = forms[p];
    const int chunks = std::min(s.panel_count, pool.threads() * 4);
    pool.run(chunks, [&, at](int chunk, int) {
      const int64_t begin = static_cast<int64_t>(s.panel_count) * chunk / chunks;
      const int64_t end = static_cast<int64_t>(s.panel_count) * (chunk + 1) / chunks;
      for (int64_t panel = begin; panel < end; ++panel) {
        pack_panel(parts[p], form, panel * kPanelColumns, at + panel * s.panel_bytes);
      }
    });
    at += s.panel_bytes * s.panel_count;
  }
  return std::unique_ptr<Weight>(std::move(weight));
}

void PackedWeight::read_row(int64_t row, float* out) const {
  if (input_order_.empty()) return read_row_as_packed(row, out);
  std::vector<float> sorted(input_order_.size());
  read_row_as_packed(row, sorted.data());
  for (size_t c = 0; c < sorted.size(); ++c) out[input_order_[c]] = sorted[c];
}

void PackedWeight::read_row_as_packed(int64_t row, float* out) const {
  SLUICE_CHECK(row >= 0 && row < rows());
  size_t index = 0;
  while (row >= segments_[index].first_row + segments_[index].rows) ++index;
  const Segment& s = segments_[index];
  const int64_t local = row - s.first_row;
  const uint8_t* panel = s.panels + local / kPanelColumns * s.panel_bytes;
  const int lane = static_cast<int>(local % kPanelColumns);
  const auto half_at = [](const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
    return bits;
  };
  if (!is_quantised(s.format)) {
    for (int64_t i = 0; i < columns(); ++i) {
      float scale;
      switch (s.format) {
        case PanelFormat::kF8:
          std::memcpy(&scale, panel + f8_scales_at(i) + 4 * lane, 4);
          out[i] = f8_to_f32(panel[f8_value_at(i, lane)]) * (scale / 256);
          break;
        case PanelFormat::kF32:
          std::memcpy(out + i, panel + (i * 16 + lane) * 4, 4);
          break;
        case PanelFormat::kF16:
          out[i] = f16_to_f32(half_at(panel + (i * 16 + lane) * 2));
          break;
        default:
          out[i] = bf16_to_f32(half_at(panel + (i / 2 * 32 + 2 * lane + i % 2) * 2));
          break;
      }
    }
    return;
  }
  const int run = run_inputs(s.format), runs = kGroupInputs / run, zero = zero_point(s.format);
  for (int64_t g = 0; g < columns() / kGroupInputs;
       ++g, panel += group_bytes(s.format), out += kGroupInputs) {
    const uint8_t* scales = panel + value_bytes(s.format);
    for (int i = 0; i < kGroupInputs; ++i) {
      int stored;
      if (is_nibble(s.format)) {
        const uint8_t byte = panel[64 * (i % 16 / 4) + 4 * lane + i % 4];
        stored = i < 16 ? byte & 15 : byte >> 4;
      } else {
        stored = panel[64 * (i / 4) + 4 * lane + i % 4];
      }
      const float scale = f16_to_f32(half_at(scales + 32 * (i / run) + 2 * lane));
      const float minimum =
          has_min(s.format) ? f16_to_f32(half_at(scales + 32 * (runs + i / run) + 2 * lane)) : 0.0F;
      out[i] = scale * static_cast<float>(stored - zero) + minimum;
    }
  }
}

}  // namespace sluice::cpu
