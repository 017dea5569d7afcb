// What both attention kernels are made of, in registers and shared memory: a slice of 16 cached keys and
// their values as operands of matrix instructions, rows of queries likewise, and the online softmax
// (https://arxiv.org/abs/1805.02867) over scores as the matrix instructions leave them.
//
// In the fragments of mma.m16n8k16 lane l has g = l / 4 and t = l % 4: of scores and sums [16, 8], rows g and
// g + 8, columns 2 t and 2 t + 1. The 16 rows are queries; the columns keys, then head elements.
//
// A cache of one-byte types is turned into f16 on the way from shared memory to registers. A matrix load
// there gives a lane four neighbouring bytes where it should have two and the two that lie 8 further on; so
// the depth of the products is taken in another order, the same on both sides: elements of queries are
// permuted when they are stored, keys likewise (`smem_row`), and `key_of` tells which key a score is of.
#pragma once

#include <cmath>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gpu.h"

namespace sluice::cuda {

inline constexpr int kSliceKeys = 16;
inline constexpr int kChunk = 16;  // bytes that are copied and loaded at once
inline constexpr float kLog2E = 1.4426950408889634F;

// ---- which kernel ----

// Calls run<Stored, D>() for the cache's type and head size.
template <class Stored, class Run>
void for_head_size(int head_size, const Run& run) {
  switch (head_size) {
    case 64:
      return run.template operator()<Stored, 64>();
    case 80:
      return run.template operator()<Stored, 80>();
    case 96:
      return run.template operator()<Stored, 96>();
    case 128:
      return run.template operator()<Stored, 128>();
    default:
      return run.template operator()<Stored, 256>();
  }
}
template <class Run>
void for_cache(const PagedCache& cache, const Run& run) {
  switch (cache.dtype) {
    case DType::kBF16:
      return for_head_size<bf16>(cache.head_size, run);
    case DType::kF16:
      return for_head_size<f16>(cache.head_size, run);
    default:
      return for_head_size<fp8>(cache.head_size, run);
  }
}

// ---- what the matrix units multiply ----

template <class Stored>
struct Format {  // f16, and what becomes f16
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return pack_f16(low, high); }
  static __device__ __forceinline__ uint32_t from_bf16(uint32_t pair) {
    return pack_f16(low_bf16(pair), high_bf16(pair));
  }
  static __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2]) {
    multiply_f16(d, a, b);
  }
};
template <>
struct Format<bf16> {
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return pack_bf16(low, high); }
  static __device__ __forceinline__ uint32_t from_bf16(uint32_t pair) { return pair; }
  static __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2]) {
    multiply_bf16(d, a, b);
  }
};

// Rows of kChunks chunks in shared memory, mixed so that one chunk of eight rows that follow one another lies
// in eight different groups of banks.
template <int kChunks>
struct Mixed {
  static constexpr int kPower = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : kChunks % 2 == 0 ? 2 : 1;
  static constexpr int kRowBytes = kChunks * kChunk;

  static __device__ __forceinline__ int mix(int row) { return row / (8 / kPower) % kPower; }
  static __device__ __forceinline__ int offset(int row, int chunk) {
    return row * kRowBytes + (chunk ^ mix(row)) * kChunk;
  }
  // Of chunk `low` + `first`, where `first` has no bit of `low` and is known when this is compiled: the rest
  // is the same for all of them, and stays in a register.
  static __device__ __forceinline__ int offset_from(int row, int low, int first) {
    return (offset(row, low) ^ (first % kPower * kChunk)) + first / kPower * kPower * kChunk;
  }
};

// ---- queries ----

// Rows of D two-byte values.
template <class Stored, int D>
struct QueryRows {
  static constexpr int kChunks = D / 8, kRowBytes = 2 * D;
  static constexpr bool kPermuted = sizeof(Stored) == 1;

  // The 16 elements `step` of a row, from `from`, or zeros if that is null.
  static __device__ __forceinline__ void store(std::byte* rows, int row, int step, const bf16* from) {
    uint4 low = make_uint4(0, 0, 0, 0), high = low;
    if (from != nullptr) {
      const uint4* const both = reinterpret_cast<const uint4*>(from);
      low = both[0];
      high = both[1];
    }
    if constexpr (kPermuted) {
      const uint4 first = low;
      low = make_uint4(first.x, first.z, high.x, high.z);
      high = make_uint4(first.y, first.w, high.y, high.w);
    }
    using F = Format<Stored>;
    *reinterpret_cast<uint4*>(rows + Mixed<kChunks>::offset(row, 2 * step)) =
        make_uint4(F::from_bf16(low.x), F::from_bf16(low.y), F::from_bf16(low.z), F::from_bf16(low.w));
    *reinterpret_cast<uint4*>(rows + Mixed<kChunks>::offset(row, 2 * step + 1)) =
        make_uint4(F::from_bf16(high.x), F::from_bf16(high.y), F::from_bf16(high.z), F::from_bf16(high.w));
  }
  // The left operand: the first 16 of `rows`, elements of `step`.
  static __device__ __forceinline__ void load(uint32_t (&a)[4], const std::byte* rows, int step, int lane) {
    load_matrix_x4(a, rows + Mixed<kChunks>::offset_from(lane % 16, lane / 16, 2 * step));
  }
};

// ---- keys and values ----

// Where a slice lies in the cache, in bytes, the same for keys and for values.
struct SlicePlace {
  int64_t rows, scales;
};

template <class Stored, int D>
__device__ __forceinline__ SlicePlace place_of(const PagedCache& cache, int block, int kv_head,
                                               int row_in_block) {
  const int64_t page = (static_cast<int64_t>(block) * cache.kv_heads + kv_head) * cache.page_bytes;
  return {page + static_cast<int64_t>(row_in_block) * D * static_cast<int>(sizeof(Stored)),
          page + static_cast<int64_t>(cache.block_tokens) * D + 4 * row_in_block};
}

// In shared memory: 16 rows of keys; 16 rows of values, or of one-byte types 8 rows of pairs; then the
// scales of the keys and those of the values.
template <class Stored, int D>
struct Slice {
  static constexpr bool kScaled = sizeof(Stored) == 1;
  static constexpr int kKeyChunks = D * static_cast<int>(sizeof(Stored)) / kChunk;  // in a row
  static constexpr int kValueChunks = D * 2 / kChunk;
  static constexpr int kPartBytes = kSliceKeys * kKeyChunks * kChunk;
  static constexpr int kBytes = 2 * kPartBytes + (kScaled ? 2 * 4 * kSliceKeys : 0);

  // Key k is the row smem_row(k); the score in tile i (of 2), column 2 t + e, is of key_of(i, t, e).
  static __device__ __forceinline__ int smem_row(int key) {
    return kScaled ? 8 * (key / 2 % 2) + 2 * (key / 4) + key % 2 : key;
  }
  static __device__ __forceinline__ int key_of(int tile, int t, int e) {
    return kScaled ? 4 * t + 2 * tile + e : 8 * tile + 2 * t + e;
  }

  // Begins the copy, shared by kLanes lanes; keys from `valid` on become zeros.
  template <int kLanes>
  static __device__ __forceinline__ void copy(std::byte* to, const PagedCache& cache, SlicePlace place,
                                              int lane, int valid) {
    constexpr int kChunks = kPartBytes / kChunk;
    const std::byte* const keys = cache.keys + place.rows;
    const std::byte* const values = cache.values + place.rows;
#pragma unroll 1
    for (int first = 0; first < kChunks; first += kLanes) {
      const int i = first + lane, row = i / kKeyChunks;
      if (kChunks % kLanes == 0 || i < kChunks) {
        copy_async_16(to + Mixed<kKeyChunks>::offset(smem_row(row), i % kKeyChunks), keys + i * kChunk,
                      row < valid);
      }
    }
#pragma unroll 1
    for (int first = 0; first < kChunks; first += kLanes) {
      const int i = first + lane, row = i / kValueChunks;
      if (kChunks % kLanes == 0 || i < kChunks) {
        copy_async_16(to + kPartBytes + Mixed<kValueChunks>::offset(row, i % kValueChunks),
                      values + i * kChunk, (kScaled ? 2 * row : row) < valid);
      }
    }
    if constexpr (kScaled) {
      if (lane < 8) {
        const std::byte* const part = lane < 4 ? cache.keys : cache.values;
        copy_async_16(to + 2 * kPartBytes + lane * kChunk, part + place.scales + lane % 4 * kChunk,
                      lane % 4 * 4 < valid);
      }
    }
  }

  // The right operands of the scores' two tiles, elements of `step`.
  static __device__ __forceinline__ void load_keys(uint32_t (&b)[2][2], const std::byte* slice, int step,
                                                   int lane) {
    if constexpr (kScaled) {
      uint32_t fours[2];
      load_matrix_x2(fours, slice + Mixed<kKeyChunks>::offset_from(lane % 16, 0, step));
      for (int i = 0; i < 2; ++i) {
        b[i][0] = f16_of_fp8(fours[i] & 0xffffU);
        b[i][1] = f16_of_fp8(fours[i] >> 16U);
      }
    } else {
      uint32_t loaded[4];
      load_matrix_x4(
          loaded, slice + Mixed<kKeyChunks>::offset_from(lane / 16 * 8 + lane % 8, lane / 8 % 2, 2 * step));
      for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = loaded[i];
    }
  }
  // The right operands of the sums' tiles 2 step and 2 step + 1.
  static __device__ __forceinline__ void load_values(uint32_t (&b)[2][2], const std::byte* slice, int step,
                                                     int lane) {
    const std::byte* const values = slice + kPartBytes;
    if constexpr (kScaled) {
      uint32_t fours[2];
      load_matrix_x2_transposed(fours,
                                values + Mixed<kValueChunks>::offset_from(lane % 8, lane / 8 % 2, 2 * step));
      for (int i = 0; i < 2; ++i) {
        b[i][0] = f16_of_fp8(fours[i] & 0xffffU);
        b[i][1] = f16_of_fp8(fours[i] >> 16U);
      }
    } else {
      uint32_t loaded[4];
      load_matrix_x4_transposed(loaded,
                                values + Mixed<kValueChunks>::offset_from(lane % 16, lane / 16, 2 * step));
      for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = loaded[i];
    }
  }

  // Of one-byte types, the scales of keys 4 t … 4 t + 3, which are the lane's columns.
  static __device__ __forceinline__ float4 key_scales(const std::byte* slice, int t) {
    return reinterpret_cast<const float4*>(slice + 2 * kPartBytes)[t];
  }
  static __device__ __forceinline__ float4 value_scales(const std::byte* slice, int t) {
    return reinterpret_cast<const float4*>(slice + 2 * kPartBytes)[4 + t];
  }
};

// ---- scores and weights: the two tiles of a slice, columns as key_of says ----

__device__ __forceinline__ void scale_columns(float (&low)[4], float (&high)[4], const float4& scales) {
  low[0] *= scales.x;
  low[1] *= scales.y;
  low[2] *= scales.x;
  low[3] *= scales.y;
  high[0] *= scales.z;
  high[1] *= scales.w;
  high[2] *= scales.z;
  high[3] *= scales.w;
}

// Weights times the values' scales may be far below 1, where f16 has few bits: they are multiplied by this,
// and the result divided.
template <class Stored>
inline constexpr float kLift = sizeof(Stored) == 1 ? 256.0F : 1.0F;

// The left operand for a slice's values. Weights of 0 stay 0 whatever the scale.
template <class Stored, int D>
__device__ __forceinline__ void pack_weights(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4],
                                             const std::byte* slice, int t) {
  using F = Format<Stored>;
  if constexpr (Slice<Stored, D>::kScaled) {
    const float4 scales = Slice<Stored, D>::value_scales(slice, t);
    const auto times = [](float weight, float scale) { return weight > 0 ? weight * scale : 0.0F; };
    const float x = scales.x * kLift<Stored>, y = scales.y * kLift<Stored>, z = scales.z * kLift<Stored>,
                w = scales.w * kLift<Stored>;
    a[0] = F::pack(times(low[0], x), times(low[1], y));
    a[1] = F::pack(times(low[2], x), times(low[3], y));
    a[2] = F::pack(times(high[0], z), times(high[1], w));
    a[3] = F::pack(times(high[2], z), times(high[3], w));
  } else {
    a[0] = F::pack(low[0], low[1]);
    a[1] = F::pack(low[2], low[3]);
    a[2] = F::pack(high[0], high[1]);
    a[3] = F::pack(high[2], high[3]);
  }
}

// The keys that a query row sees: (last - window, last].
struct Visible {
  int first, last;

  static __device__ __forceinline__ Visible at(int position, int sliding_window) {
    return {sliding_window > 0 ? position - sliding_window + 1 : 0, position};
  }
};

// Scores of keys that a row does not see become minus infinity. [0]: row g, [1]: row g + 8.
template <class Stored, int D>
__device__ __forceinline__ void hide(float (&low)[4], float (&high)[4], int first_key,
                                     const Visible (&rows)[2], int t) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int key = first_key + Slice<Stored, D>::key_of(i / 4, t, i % 2);
    const Visible& row = rows[i % 4 / 2];
    float& score = i < 4 ? low[i % 4] : high[i % 4];
    if (key < row.first || key > row.last) score = -INFINITY;
  }
}

// Of the lane's rows g and g + 8, over the keys so far: the largest score, and the sum of the lane's weights.
struct RowState {
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};
};

// What weights are relative to; not minus infinity, which a row without a key would have.
__device__ __forceinline__ float reference_of(float largest) {
  return largest == -INFINITY ? 0.0F : largest;
}

// Scores become weights 2^(scale * (score - largest)); total and sums are brought to the new largest.
// Keys that no row sees leave everything as it was, to the bit.
template <int kTiles, int kSums>
__device__ __forceinline__ void weigh(float (&scores)[kTiles][4], float scale, RowState& state,
                                      float (&sums)[kSums][4]) {
  float factors[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = state.largest[half];
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
      largest = max(largest, max(scores[i][2 * half], scores[i][2 * half + 1]));
    largest = max(largest, __shfl_xor_sync(~0U, largest, 1));
    largest = max(largest, __shfl_xor_sync(~0U, largest, 2));
    // Not by the reference below, whose rounding would make of 1 almost 1.
    const bool same = largest == state.largest[half];
    factors[half] = same ? 1.0F : fast_exp2((state.largest[half] - largest) * scale);
    state.largest[half] = largest;
    const float reference = reference_of(largest) * scale;
    float total = 0;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        scores[i][e] = fast_exp2(scores[i][e] * scale - reference);
        total += scores[i][e];
      }
    }
    state.total[half] = state.total[half] * factors[half] + total;
  }
  if (__any_sync(~0U, factors[0] != 1.0F || factors[1] != 1.0F) == 0) return;
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    sums[i][0] *= factors[0];
    sums[i][1] *= factors[0];
    sums[i][2] *= factors[1];
    sums[i][3] *= factors[1];
  }
}

// Over the four lanes of a row.
__device__ __forceinline__ float row_total(float total) {
  total += __shfl_xor_sync(~0U, total, 1);
  return total + __shfl_xor_sync(~0U, total, 2);
}

}  // namespace sluice::cuda
