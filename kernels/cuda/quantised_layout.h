// How quantised weights lie in device memory: as the lanes of a warp take them to the matrix units.
//
// A weight is cut into tiles of 16 outputs by 64 inputs; the tiles of 16 outputs follow one another along the
// inputs. A tile is four steps of 16 inputs, one matrix multiplication each. In step s lane l = 4 g + q has
// outputs g and g + 8 with inputs 16 s + 4 q … + 3, eight stored values:
//   a pair p = 0: output g, inputs 0 and 1;  1: output g + 8, the same;  2: output g, inputs 2 and 3;  3: …
//   low plane   values of 4 to 6 bits: their low four bits, one word for each step and lane: of pair p the
//               first value at bit 4 p, the second at bit 16 + 4 p.   [32 lanes][4 steps] words, 512 bytes
//               values of 8 bits: two words, pairs 0 and 1, then 2 and 3: first values in bytes 0 and 1,
//               second ones in bytes 2 and 3.                          [2][32 lanes][4 steps] words, 1024
//               bytes
//   high plane  5 bits: one word for each lane: of step s, pair p the first value's bit at 4 s + p, the
//   second's
//               at 16 + 4 s + p. 6 bits: two words, for two steps each: bits 8 (s % 2) + 2 p, 16 + 8 (s % 2)
//               + 2 p.
//   scales      f16, one for each group of `group` inputs and each output: [64 / group][16], with a minimum
//               behind each scale where there are minima
//   zeros       where groups have their own: a byte for each scale, behind all of them
// weight = (stored - zero) * scale * row_scale + minimum * row_scale; row_scale is a power of two, so that
// small scales do not vanish in f16. Outputs and inputs beyond the weight's own are zeros. Groups of more
// than 64 inputs have their scale in each tile: 4.25 bits a weight, 4.375 with zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace sluice::cuda {

inline constexpr int kTileOutputs = 16, kTileInputs = 64;

struct QuantisedLayout {
  int bits = 4;    // 4, 5, 6 or 8
  int group = 32;  // 16, 32 or 64
  int zero = 0;    // of all
  bool has_minimum = false;
  bool has_zeros = false;

  constexpr int low_bytes() const { return bits == 8 ? 1024 : 512; }
  constexpr int high_bytes() const { return bits == 5 ? 128 : bits == 6 ? 256 : 0; }
  constexpr int scales_at() const { return low_bytes() + high_bytes(); }
  constexpr int scale_bytes() const { return kTileInputs / group * kTileOutputs * (has_minimum ? 4 : 2); }
  constexpr int zeros_at() const { return scales_at() + scale_bytes(); }
  constexpr int tile_bytes() const {
    return zeros_at() + (has_zeros ? kTileInputs / group * kTileOutputs : 0);
  }
  constexpr bool operator==(const QuantisedLayout&) const = default;
};

// All there are; kernels are compiled for each.
inline constexpr QuantisedLayout kLayouts[] = {
    {4, 32, 8},               // Q4_0, and I4_32 of one zero
    {4, 32, 0, true},         // Q4_1, Q4_K
    {5, 32, 16},              // Q5_0
    {5, 32, 0, true},         // Q5_1, Q5_K
    {8, 32, 128},             // Q8_0
    {4, 16, 0, true},         // Q2_K
    {4, 16, 4},               // Q3_K
    {6, 16, 32},              // Q6_K
    {4, 64, 8},               // I4_64 of one zero
    {4, 32, 0, false, true},  // I4_32
    {4, 64, 0, false, true},  // I4_64
};

// Calls body.operator()<i>() where kLayouts[i] is the layout. (nvcc takes no such struct for an argument.)
template <int kIndex = 0, class Body>
void with_layout(const QuantisedLayout& layout, const Body& body) {
  if constexpr (kIndex < static_cast<int>(std::size(kLayouts))) {
    if (layout == kLayouts[kIndex]) return body.template operator()<kIndex>();
    with_layout<kIndex + 1>(layout, body);
  }
}

// Quantised formats only. The 2- and 3-bit ones are widened to 4 bits. Of the 4-bit ones with zeros this is
// the layout where these differ; with the same zero of 8 everywhere, as in symmetric checkpoints,
// `pack_tiles` leaves them out.
QuantisedLayout layout_of(WeightFormat format);

struct PackedTiles {
  QuantisedLayout layout;
  int outputs = 0, inputs = 0;    // the weight's own
  std::vector<std::byte> tiles;   // [ceil(outputs / 16)][ceil(inputs / 64)] tiles
  std::vector<float> row_scales;  // [16 * ceil(outputs / 16)]
};
PackedTiles pack_tiles(const HostWeight& weight);

}  // namespace sluice::cuda
