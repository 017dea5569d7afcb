// Reading the tiles of quantised weights (quantised_layout.h) in kernels: a lane's values as integers in
// bf16, and the scales of a group.
#pragma once

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/quantised_layout.h"

namespace sluice::cuda {

// Two integers 0 … 127 in the halves of a word as bf16: 128 + v has v in its last bits.
__device__ __forceinline__ uint32_t small_integers(uint32_t halves, float zero) {
  const uint32_t raised = halves | 0x43004300U;
  return pack_bf16(low_bf16(raised) - zero, high_bf16(raised) - zero);
}

// Integers 0 … 255 in bytes 0 and 2.
__device__ __forceinline__ uint32_t byte_integers(uint32_t halves, float zero) {
  const float low = __uint_as_float(0x4b000000U | (halves & 0xffU));  // 2^23 + v
  const float high = __uint_as_float(0x4b000000U | (halves >> 16U & 0xffU));
  return pack_bf16(low - zero, high - zero);
}

// The lane's eight values of each of a tile's four steps.
template <int kBits>
struct TileValues {
  uint4 low, more;  // `more`: of 8 bits
  uint32_t high[2];

  __device__ __forceinline__ void load(const std::byte* tile, int lane) {
    low = load_once(tile + 16 * lane);
    if constexpr (kBits == 8) more = load_once(tile + 512 + 16 * lane);
    if constexpr (kBits == 5) high[0] = *reinterpret_cast<const uint32_t*>(tile + 512 + 4 * lane);
    if constexpr (kBits == 6) {
      const uint2 pair = *reinterpret_cast<const uint2*>(tile + 512 + 8 * lane);
      high[0] = pair.x;
      high[1] = pair.y;
    }
  }
  // Of step s, the left operand. The zeros of outputs g and g + 8 come raised as the integers are.
  template <int s>
  __device__ __forceinline__ void unpack(float zero_low, float zero_high, uint32_t (&a)[4]) const {
    const uint32_t word = s == 0 ? low.x : s == 1 ? low.y : s == 2 ? low.z : low.w;
    if constexpr (kBits == 8) {
      const uint32_t second = s == 0 ? more.x : s == 1 ? more.y : s == 2 ? more.z : more.w;
      a[0] = byte_integers(word, zero_low);
      a[1] = byte_integers(word >> 8U, zero_high);
      a[2] = byte_integers(second, zero_low);
      a[3] = byte_integers(second >> 8U, zero_high);
    } else {
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        uint32_t halves = word >> (4 * p) & 0x000f000fU;
        if constexpr (kBits == 5) halves |= (high[0] >> (4 * s + p) & 0x00010001U) << 4U;
        if constexpr (kBits == 6) halves |= (high[s / 2] >> (8 * (s % 2) + 2 * p) & 0x00030003U) << 4U;
        a[p] = small_integers(halves, p % 2 == 0 ? zero_low : zero_high);
      }
    }
  }
};

template <int kBits>
__device__ __forceinline__ constexpr float raised(int zero) {
  return static_cast<float>((kBits == 8 ? 1 << 23 : 128) + zero);
}

// What is to be taken off the raised integers of a place: group in the tile * 16 + output in the tile.
template <int kIndex>
__device__ __forceinline__ float zero_at(const std::byte* tile, int place) {
  constexpr QuantisedLayout kLayout = kLayouts[kIndex];
  if constexpr (kLayout.has_zeros)
    return raised<kLayout.bits>(static_cast<int>(tile[kLayout.zeros_at() + place]));
  return raised<kLayout.bits>(kLayout.zero);
}

struct GroupScale {
  float scale, minimum;

  // `place`: group in the tile * 16 + output in the tile.
  template <bool kMinimum>
  static __device__ __forceinline__ GroupScale at(const std::byte* scales, int place) {
    const f16* const values = reinterpret_cast<const f16*>(scales);
    if constexpr (kMinimum) return {to_float(values[2 * place]), to_float(values[2 * place + 1])};
    return {to_float(values[place]), 0};
  }
};

}  // namespace sluice::cuda
