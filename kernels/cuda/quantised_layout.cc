#include "kernels/cuda/quantised_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/parallel.h"
#include "kernels/quant_blocks.h"

namespace sluice::cuda {
namespace {

// Where a value of a tile stands: lane, step, pair, and which of the pair.
struct Place {
  int lane, step, pair, second;
};

Place place_of(int output, int input) {
  const int in_step = input % 16;
  return {4 * (output % 8) + in_step / 4, input / 16, output / 8 + 2 * (in_step % 4 / 2), in_step % 2};
}

void or_word(std::byte* plane, int word, uint32_t bits) {
  uint32_t value;
  std::memcpy(&value, plane + 4 * word, 4);
  value |= bits;
  std::memcpy(plane + 4 * word, &value, 4);
}

void store_value(const QuantisedLayout& layout, std::byte* tile, Place at, uint32_t stored) {
  if (layout.bits == 8) {
    const int half = at.pair / 2;
    return or_word(tile + 512 * half, 4 * at.lane + at.step, stored << (16 * at.second + 8 * (at.pair % 2)));
  }
  or_word(tile, 4 * at.lane + at.step, (stored & 15U) << (16 * at.second + 4 * at.pair));
  std::byte* const high = tile + layout.low_bytes();
  if (layout.bits == 5) or_word(high, at.lane, stored >> 4U << (16 * at.second + 4 * at.step + at.pair));
  if (layout.bits == 6) {
    or_word(high, 2 * at.lane + at.step / 2,
            stored >> 4U << (16 * at.second + 8 * (at.step % 2) + 2 * at.pair));
  }
}

// Four values of 4 bits from input `input` on, a multiple of four: all are one lane's.
void store_four(std::byte* tile, int output, int input, const uint32_t (&stored)[4]) {
  const Place at = place_of(output, input);
  or_word(tile, 4 * at.lane + at.step,
          (stored[0] | stored[1] << 16 | stored[2] << 8 | stored[3] << 24) << (4 * at.pair));
}

// What brings the decoded integers (quant_blocks.h) to stored ones: some come around zero.
int stored_shift(WeightFormat format) {
  switch (format) {
    case WeightFormat::kQ8_0:
      return 128;
    case WeightFormat::kQ6_K:
      return 32;
    case WeightFormat::kQ3_K:
      return 4;
    default:
      return 0;
  }
}

// The power of two that brings the largest scale or minimum to 1 or a little below.
float row_scale_of(std::span<const QuantRun> runs) {
  float largest = 0;
  for (const QuantRun& run : runs) largest = std::max({largest, std::fabs(run.scale), std::fabs(run.offset)});
  if (largest == 0 || !std::isfinite(largest)) return 1;
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0F, exponent);
}

}  // namespace

QuantisedLayout layout_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kQ4_0:
      return {4, 32, 8, false};
    case WeightFormat::kQ4_1:
    case WeightFormat::kQ4_K:
      return {4, 32, 0, true};
    case WeightFormat::kQ5_0:
      return {5, 32, 16, false};
    case WeightFormat::kQ5_1:
    case WeightFormat::kQ5_K:
      return {5, 32, 0, true};
    case WeightFormat::kQ8_0:
      return {8, 32, 128, false};
    case WeightFormat::kQ2_K:
      return {4, 16, 0, true};
    case WeightFormat::kQ3_K:
      return {4, 16, 4, false};
    case WeightFormat::kQ6_K:
      return {6, 16, 32, false};
    case WeightFormat::kI4_32:
      return {4, 32, 0, false, true};
    case WeightFormat::kI4_64:
      return {4, 64, 0, false, true};
    default:
      SLUICE_CHECK(!"a quantised format");
      return {};
  }
}

namespace {

// Rows [first, last) of the weight, whole panels but for the last.
void pack_rows(const HostWeight& weight, int64_t first, int64_t last, PackedTiles& packed) {
  const QuantisedLayout& layout = packed.layout;
  const int64_t tiles = (weight.columns + kTileInputs - 1) / kTileInputs;
  const auto facts = facts_of(weight.format);
  const bool four_bits = weight.format == WeightFormat::kI4_32 || weight.format == WeightFormat::kI4_64;
  std::vector<QuantRun> runs(static_cast<size_t>(weight.columns / 16));
  for (int64_t row = first; row < last; ++row) {
    const std::byte* const blocks = weight.row(row);
    for (int64_t b = 0; b < weight.columns / facts.block_weights; ++b)
      unpack_block(weight.format, blocks + b * facts.block_bytes,
                   runs.data() + b * (facts.block_weights / 16));
    const float row_scale = row_scale_of(runs);
    packed.row_scales[static_cast<size_t>(row)] = row_scale;
    const int output = static_cast<int>(row % kTileOutputs);
    for (size_t r = 0; r < runs.size(); ++r) {
      const QuantRun& run = runs[r];
      const int from = static_cast<int>(r * 16 % kTileInputs);
      std::byte* const tile =
          packed.tiles.data() +
          (row / kTileOutputs * tiles + static_cast<int64_t>(r) * 16 / kTileInputs) * layout.tile_bytes();
      int shift = stored_shift(weight.format);
      const int place = from / layout.group * kTileOutputs + output;
      if (four_bits) {
        const std::byte zero =
            blocks[static_cast<int64_t>(r) * 16 / facts.block_weights * facts.block_bytes + kI4ZeroAt];
        shift = static_cast<int>(zero);
        if (layout.has_zeros) tile[layout.zeros_at() + place] = zero;
      }
      const auto stored = [&](int i) { return static_cast<uint32_t>(run.q[i] + shift); };
      for (int i = 0; i < 16 && layout.bits == 4; i += 4)
        store_four(tile, output, from + i, {stored(i), stored(i + 1), stored(i + 2), stored(i + 3)});
      for (int i = 0; i < 16 && layout.bits != 4; ++i)
        store_value(layout, tile, place_of(output, from + i), stored(i));
      std::byte* const scales = tile + layout.scales_at();
      const uint16_t scale = f32_to_f16(run.scale / row_scale), minimum = f32_to_f16(run.offset / row_scale);
      if (layout.has_minimum) {
        std::memcpy(scales + 4 * place, &scale, 2);
        std::memcpy(scales + 4 * place + 2, &minimum, 2);
      } else {
        std::memcpy(scales + 2 * place, &scale, 2);
      }
    }
  }
}

}  // namespace

PackedTiles pack_tiles(const HostWeight& weight) {
  PackedTiles packed;
  packed.layout = layout_of(weight.format);
  if (packed.layout.has_zeros && common_zero(weight) == 8) {
    packed.layout.has_zeros = false;
    packed.layout.zero = 8;
  }
  packed.outputs = static_cast<int>(weight.rows);
  packed.inputs = static_cast<int>(weight.columns);
  const int64_t panels = (weight.rows + kTileOutputs - 1) / kTileOutputs;
  const int64_t tiles = (weight.columns + kTileInputs - 1) / kTileInputs;
  packed.tiles.resize(static_cast<size_t>(panels * tiles * packed.layout.tile_bytes()));
  packed.row_scales.assign(static_cast<size_t>(panels * kTileOutputs), 0);
  in_parallel(panels, [&](int64_t first, int64_t last) {
    pack_rows(weight, first * kTileOutputs, std::min(last * kTileOutputs, weight.rows), packed);
  });
  return packed;
}

}  // namespace sluice::cuda
