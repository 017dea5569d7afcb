// What the kernels for few tokens have in common (matmul_skinny.cu says how they work): blocks of eight warps
// for 16 outputs and 8 or 16 tokens, and how their sums meet.
#pragma once

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matmul.h"

namespace sluice::cuda {

inline constexpr int kSkinnyWarps = 8, kSkinnyThreads = kSkinnyWarps * kWarp;
inline constexpr int kTokensPerTile = 8;

// The warps' sums, added in their order, and written where they belong.
template <int kTokenTiles>
__device__ __forceinline__ void reduce_and_store(const float (&acc)[kTokenTiles][4], float* room,
                                                 float scale_low, float scale_high, int outputs,
                                                 int first_token, int tokens, const MatmulOut& out) {
  constexpr int kTokens = kTokenTiles * kTokensPerTile;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = lane / 4, quad = lane % 4;
#pragma unroll
  for (int j = 0; j < kTokenTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = group + 8 * (i / 2), token = kTokensPerTile * j + 2 * quad + i % 2;
      room[(warp * kTokens + token) * kTileOutputs + row] = acc[j][i] * (i < 2 ? scale_low : scale_high);
    }
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < kTokens * kTileOutputs; at += kSkinnyThreads) {
    const int token = first_token + at / kTileOutputs;
    const int output = static_cast<int>(blockIdx.x) * kTileOutputs + at % kTileOutputs;
    if (token >= tokens || output >= outputs) continue;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kSkinnyWarps; ++w) sum += room[w * kTokens * kTileOutputs + at];
    if (out.bias != nullptr) sum += out.bias[output];
    const int64_t to = token * out.stride + output;
    if (out.rows != nullptr)
      convert(sum, out.rows[to]);
    else
      out.rows_f32[to] = sum;
  }
}

inline Grid skinny_grid(int outputs, int tokens, int token_tiles, Stream stream) {
  const int tokens_per_block = token_tiles * kTokensPerTile;
  return {dim3(static_cast<unsigned>((outputs + kTileOutputs - 1) / kTileOutputs),
               static_cast<unsigned>((tokens + tokens_per_block - 1) / tokens_per_block)),
          dim3(kSkinnyThreads), sizeof(float) * kSkinnyWarps * tokens_per_block * kTileOutputs, stream};
}

}  // namespace sluice::cuda
