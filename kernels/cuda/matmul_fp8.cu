// Few tokens, E4M3 weights: as the dense kernel of matmul_skinny.cu, with a turn of 64 inputs a warp. Lane
// l = 4 g + q loads inputs 16 q … 16 q + 15 of outputs g and g + 8, 16 bytes each, and calls each four of
// them inputs 2 q, 2 q + 1, 2 q + 8, 2 q + 9 of a matrix multiplication's step; the tokens likewise. Bound by
// memory: a byte a weight.
//
// Rows: a thread 16 values. Quantise: a block a token. Scale: a thread a value, two bytes read and written.
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matmul_fp8.h"
#include "kernels/cuda/skinny_sums.h"

namespace sluice::cuda {
namespace {

constexpr int kStep = 64;  // inputs of a warp's turn

template <bool kGroups, int kTokenTiles>
__global__ void __launch_bounds__(kSkinnyThreads, kTokenTiles == 1 ? 3 : 2)
    fp8_skinny_kernel(Fp8Matrix w, Rows x, MatmulOut out) {
  SLUICE_DYNAMIC_SHARED(float, room);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = lane / 4, quad = lane % 4;
  const int first_output = static_cast<int>(blockIdx.x) * kTileOutputs;
  const int first_token = static_cast<int>(blockIdx.y) * kTokenTiles * kTokensPerTile;
  // Outputs and tokens beyond the last are copies of it, and are not stored.
  const int low_output = min(first_output + group, w.outputs - 1);
  const int high_output = min(first_output + group + 8, w.outputs - 1);
  const fp8* const low = w.values + static_cast<int64_t>(low_output) * w.inputs;
  const fp8* const high = w.values + static_cast<int64_t>(high_output) * w.inputs;
  const float* const low_scales = w.scales + static_cast<int64_t>(low_output) * w.groups;
  const float* const high_scales = w.scales + static_cast<int64_t>(high_output) * w.groups;
  const bf16* tokens[kTokenTiles];
#pragma unroll
  for (int j = 0; j < kTokenTiles; ++j)
    tokens[j] = x.values + min(first_token + kTokensPerTile * j + group, x.rows - 1) * x.stride;

  float acc[kTokenTiles][4] = {};
#pragma unroll 2
  for (int k = warp * kStep; k < w.inputs; k += kSkinnyWarps * kStep) {
    const int at = k + 16 * quad;
    const bool inside = at < w.inputs;  // inputs are a multiple of 16
    const uint4 none = make_uint4(0, 0, 0, 0);
    const uint4 a = inside ? load_once(low + at) : none, b = inside ? load_once(high + at) : none;
    const uint32_t lows[4] = {a.x, a.y, a.z, a.w}, highs[4] = {b.x, b.y, b.z, b.w};
    float of_turn[kTokenTiles][4] = {};
    uint4 first[kTokenTiles], second[kTokenTiles];
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
      first[j] = inside ? *reinterpret_cast<const uint4*>(tokens[j] + at) : none;
      second[j] = inside ? *reinterpret_cast<const uint4*>(tokens[j] + at + 8) : none;
    }
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const uint32_t step[4] = {bf16_of_fp8<0>(lows[s]), bf16_of_fp8<0>(highs[s]), bf16_of_fp8<1>(lows[s]),
                                bf16_of_fp8<1>(highs[s])};
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j) {
        const uint4& t = s < 2 ? first[j] : second[j];
        const uint32_t pair[2] = {s % 2 == 0 ? t.x : t.z, s % 2 == 0 ? t.y : t.w};
        multiply_bf16(kGroups ? of_turn[j] : acc[j], step, pair);
      }
    }
    if constexpr (kGroups) {
      const float low_scale = low_scales[k / kFp8ScaleInputs], high_scale = high_scales[k / kFp8ScaleInputs];
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[j][i] += (i < 2 ? low_scale : high_scale) * of_turn[j][i];
      }
    }
  }
  reduce_and_store<kTokenTiles>(acc, room, kGroups ? 1.0F : low_scales[0], kGroups ? 1.0F : high_scales[0],
                                w.outputs, first_token, x.rows, out);
}

constexpr int kRowThreads = 128;

// `ids` null: row r of the result is row r of the weight.
__global__ void __launch_bounds__(kRowThreads) fp8_rows_kernel(Fp8Matrix w, const int32_t* ids, Rows out) {
  const int at = static_cast<int>(blockIdx.y * kRowThreads + threadIdx.x) * 16;
  if (at >= w.inputs) return;
  const int64_t row = ids == nullptr ? static_cast<int>(blockIdx.x) : ids[blockIdx.x];
  const float scale = w.scales[row * w.groups + (w.groups > 1 ? at / kFp8ScaleInputs : 0)];
  const uint4 four = load_once(w.values + row * w.inputs + at);
  const uint32_t words[4] = {four.x, four.y, four.z, four.w};
  uint32_t pairs[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t a = bf16_of_fp8<0>(words[i]), b = bf16_of_fp8<1>(words[i]);
    pairs[2 * i] = pack_bf16(low_bf16(a) * scale, high_bf16(a) * scale);
    pairs[2 * i + 1] = pack_bf16(low_bf16(b) * scale, high_bf16(b) * scale);
  }
  uint4* const to = reinterpret_cast<uint4*>(out.values + blockIdx.x * out.stride + at);
  to[0] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  to[1] = make_uint4(pairs[4], pairs[5], pairs[6], pairs[7]);
}

constexpr int kQuantiseThreads = 256, kQuantiseWarps = kQuantiseThreads / kWarp;

__device__ __forceinline__ float larger(float largest, uint32_t pair) {
  return max(largest, max(fabsf(low_bf16(pair)), fabsf(high_bf16(pair))));
}

__device__ __forceinline__ uint32_t four_fp8(uint32_t a, uint32_t b, float factor) {
  fp8 v[4];
  convert(low_bf16(a) * factor, v[0]);
  convert(high_bf16(a) * factor, v[1]);
  convert(low_bf16(b) * factor, v[2]);
  convert(high_bf16(b) * factor, v[3]);
  return static_cast<uint32_t>(v[0].bits) | static_cast<uint32_t>(v[1].bits) << 8U |
         static_cast<uint32_t>(v[2].bits) << 16U | static_cast<uint32_t>(v[3].bits) << 24U;
}

__global__ void __launch_bounds__(kQuantiseThreads) quantise_kernel(Rows x, Fp8Rows to) {
  SLUICE_DYNAMIC_SHARED(float, warps);
  const bf16* const from = x.values + blockIdx.x * x.stride;
  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x) * 8; i < to.columns; i += kQuantiseThreads * 8) {
    const uint4 v = *reinterpret_cast<const uint4*>(from + i);
    largest = larger(larger(larger(larger(largest, v.x), v.y), v.z), v.w);
  }
  largest = warp_max(largest);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = largest;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kQuantiseWarps; ++w) largest = max(largest, warps[w]);
  const float factor = largest > 0 ? kLargestFp8 / largest : 0.0F;
  if (threadIdx.x == 0) to.scales[blockIdx.x] = largest / kLargestFp8;
  fp8* const out = to.values + static_cast<int64_t>(blockIdx.x) * to.columns;
  for (int i = static_cast<int>(threadIdx.x) * 8; i < to.columns; i += kQuantiseThreads * 8) {
    const uint4 v = *reinterpret_cast<const uint4*>(from + i);
    *reinterpret_cast<uint2*>(out + i) = make_uint2(four_fp8(v.x, v.y, factor), four_fp8(v.z, v.w, factor));
  }
}

__global__ void __launch_bounds__(kRowThreads)
    scale_products_kernel(MatmulOut out, int outputs, const float* token_scales, const float* output_scales) {
  const int output = static_cast<int>(blockIdx.y * kRowThreads + threadIdx.x);
  if (output >= outputs) return;
  const int64_t at = blockIdx.x * out.stride + output;
  const float scale = token_scales[blockIdx.x] * output_scales[output];
  const float bias = out.bias != nullptr ? out.bias[output] : 0.0F;
  if (out.rows != nullptr)
    convert(to_float(out.rows[at]) * scale + bias, out.rows[at]);
  else
    out.rows_f32[at] = out.rows_f32[at] * scale + bias;
}

void write_rows(const Fp8Matrix& w, const int32_t* ids, Rows out, Stream stream) {
  const int pieces = w.inputs / 16;
  launch(
      fp8_rows_kernel,
      {dim3(static_cast<unsigned>(out.rows), static_cast<unsigned>((pieces + kRowThreads - 1) / kRowThreads)),
       dim3(kRowThreads), 0, stream},
      w, ids, out);
}

}  // namespace

void matmul_skinny(const Fp8Matrix& w, Rows x, const MatmulOut& out, Stream stream) {
  const int token_tiles = x.rows <= kTokensPerTile ? 1 : 2;
  const auto kernel = w.groups > 1
                          ? token_tiles == 1 ? fp8_skinny_kernel<true, 1> : fp8_skinny_kernel<true, 2>
                      : token_tiles == 1 ? fp8_skinny_kernel<false, 1>
                                         : fp8_skinny_kernel<false, 2>;
  launch(kernel, skinny_grid(w.outputs, x.rows, token_tiles, stream), w, x, out);
}

void dequantise(const Fp8Matrix& w, bf16* out, Stream stream) {
  write_rows(w, nullptr, {out, w.inputs, w.outputs, w.inputs}, stream);
}

void embed(const Fp8Matrix& table, const int32_t* ids, Rows out, Stream stream) {
  write_rows(table, ids, out, stream);
}

void quantise(Rows x, const Fp8Rows& to, Stream stream) {
  launch(
      quantise_kernel,
      {dim3(static_cast<unsigned>(to.rows)), dim3(kQuantiseThreads), sizeof(float) * kQuantiseWarps, stream},
      x, to);
}

void scale_products(const MatmulOut& out, int tokens, int outputs, const float* token_scales,
                    const float* output_scales, Stream stream) {
  launch(
      scale_products_kernel,
      {dim3(static_cast<unsigned>(tokens), static_cast<unsigned>((outputs + kRowThreads - 1) / kRowThreads)),
       dim3(kRowThreads), 0, stream},
      out, outputs, token_scales, output_scales);
}

}  // namespace sluice::cuda
