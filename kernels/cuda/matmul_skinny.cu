// Few tokens: a block takes 16 outputs, its eight warps every eighth tile of 64 inputs. The weights are the
// left operand of the matrix units (16 outputs by 16 inputs), the tokens the right one (16 inputs by 8
// tokens), so that one token costs no more than eight, and every weight byte goes from memory to registers
// once, 16 bytes a lane.
//
// The sum over inputs has no order of its own, so the lanes name them as suits their loads: what the matrix
// units take for inputs 2 q, 2 q + 1, 2 q + 8, 2 q + 9 of a step are inputs 4 q … 4 q + 3 for quantised
// weights (quantised_layout.h); for dense ones 8 q … 8 q + 7 of 32 inputs make two steps.
//
// Quantised integers enter the matrix units as they are, exact in bf16, and each group's sum is scaled in
// f32: nothing is rounded but the scales (f16) and the tokens (bf16). Minima are taken times the tokens' sums
// over the group, which a kernel of their own has made.
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/skinny_sums.h"
#include "kernels/cuda/tile_values.h"

namespace sluice::cuda {
namespace {

// ---- dense ----

constexpr int kDenseStep = 32;  // inputs of a warp's turn

template <int kTokenTiles>
__global__ void __launch_bounds__(kSkinnyThreads, 3) dense_kernel(DenseMatrix w, Rows x, MatmulOut out) {
  SLUICE_DYNAMIC_SHARED(float, room);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = lane / 4, quad = lane % 4;
  const int first_output = static_cast<int>(blockIdx.x) * kTileOutputs;
  const int first_token = static_cast<int>(blockIdx.y) * kTokenTiles * kTokensPerTile;
  // Outputs and tokens beyond the last are copies of it, and are not stored.
  const bf16* const low =
      w.values + static_cast<int64_t>(min(first_output + group, w.outputs - 1)) * w.inputs;
  const bf16* const high =
      w.values + static_cast<int64_t>(min(first_output + group + 8, w.outputs - 1)) * w.inputs;
  const bf16* tokens[kTokenTiles];
#pragma unroll
  for (int j = 0; j < kTokenTiles; ++j)
    tokens[j] = x.values + min(first_token + kTokensPerTile * j + group, x.rows - 1) * x.stride;

  float acc[kTokenTiles][4] = {};
#pragma unroll 4
  for (int k = warp * kDenseStep; k < w.inputs; k += kSkinnyWarps * kDenseStep) {
    const int at = k + 8 * quad;
    const bool inside = at < w.inputs;  // inputs are a multiple of 8
    const uint4 none = make_uint4(0, 0, 0, 0);
    const uint4 a = inside ? load_once(low + at) : none, b = inside ? load_once(high + at) : none;
    const uint32_t first[4] = {a.x, b.x, a.y, b.y}, second[4] = {a.z, b.z, a.w, b.w};
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
      const uint4 t = inside ? *reinterpret_cast<const uint4*>(tokens[j] + at) : none;
      multiply_bf16(acc[j], first, {t.x, t.y});
      multiply_bf16(acc[j], second, {t.z, t.w});
    }
  }
  reduce_and_store<kTokenTiles>(acc, room, 1, 1, w.outputs, first_token, x.rows, out);
}

// ---- quantised ----

template <int kIndex, int kTokenTiles>
struct Turn {  // one tile of inputs
  static constexpr QuantisedLayout kLayout = kLayouts[kIndex];
  static constexpr int kGroup = kLayout.group, kStepsPerGroup = kGroup / 16;
  const std::byte* tile;
  const bf16* const (&tokens)[kTokenTiles];
  const float* sums;  // of the block's first token
  int first_input, inputs, lane, token_count;
  float (&acc)[kTokenTiles][4];

  template <int s>
  __device__ __forceinline__ void step(const TileValues<kLayout.bits>& values,
                                       float (&of_group)[kTokenTiles][4]) {
    uint32_t a[4];
    const int place = s / kStepsPerGroup * kTileOutputs + lane / 4;
    values.template unpack<s>(zero_at<kIndex>(tile, place), zero_at<kIndex>(tile, place + 8), a);
    const int at = first_input + 16 * s + 4 * (lane % 4);
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
      const uint2 t = *reinterpret_cast<const uint2*>(tokens[j] + at);
      multiply_bf16(of_group[j], a, {t.x, t.y});
    }
    if constexpr ((s + 1) % kStepsPerGroup == 0) {
      add_group<s / kStepsPerGroup>(of_group);
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) of_group[j][i] = 0;
      }
    }
  }

  template <int g>
  __device__ __forceinline__ void add_group(const float (&of_group)[kTokenTiles][4]) {
    constexpr bool kMinimum = kLayout.has_minimum;
    const std::byte* const scales = tile + kLayout.scales_at();
    const GroupScale of[2] = {GroupScale::at<kMinimum>(scales, g * kTileOutputs + lane / 4),
                              GroupScale::at<kMinimum>(scales, g * kTileOutputs + lane / 4 + 8)};
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        acc[j][i] += of[i / 2].scale * of_group[j][i];
        if constexpr (kMinimum) {
          const int token = min(kTokensPerTile * j + 2 * (lane % 4) + i % 2, token_count - 1);
          acc[j][i] += of[i / 2].minimum * sums[token * (inputs / kGroup) + first_input / kGroup + g];
        }
      }
    }
  }

  __device__ __forceinline__ void take() {
    TileValues<kLayout.bits> values;
    values.load(tile, lane);
    float of_group[kTokenTiles][4] = {};
    step<0>(values, of_group);
    step<1>(values, of_group);
    // Inputs are a multiple of 32, or of 64 where groups are: the tile's second half may be beyond.
    if constexpr (kGroup <= 32) {
      if (first_input + 32 >= inputs) return;
    }
    step<2>(values, of_group);
    step<3>(values, of_group);
  }
};

template <int kIndex, int kTokenTiles>
__global__ void __launch_bounds__(kSkinnyThreads, 3)
    quantised_kernel(QuantisedMatrix w, Rows x, const float* sums, MatmulOut out) {
  SLUICE_DYNAMIC_SHARED(float, room);
  constexpr QuantisedLayout kLayout = kLayouts[kIndex];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = lane / 4;
  const int first_output = static_cast<int>(blockIdx.x) * kTileOutputs;
  const int first_token = static_cast<int>(blockIdx.y) * kTokenTiles * kTokensPerTile;
  const bf16* tokens[kTokenTiles];
#pragma unroll
  for (int j = 0; j < kTokenTiles; ++j)
    tokens[j] = x.values + min(first_token + kTokensPerTile * j + group, x.rows - 1) * x.stride;
  const int tiles = (w.inputs + kTileInputs - 1) / kTileInputs;
  const std::byte* const panel = w.tiles + static_cast<int64_t>(blockIdx.x) * tiles * kLayout.tile_bytes();

  float acc[kTokenTiles][4] = {};
  for (int t = warp; t < tiles; t += kSkinnyWarps) {
    Turn<kIndex, kTokenTiles>{
        panel + static_cast<int64_t>(t) * kLayout.tile_bytes(),
        tokens,
        kLayout.has_minimum ? sums + static_cast<int64_t>(first_token) * (w.inputs / kLayout.group) : nullptr,
        t * kTileInputs,
        w.inputs,
        lane,
        x.rows - first_token,
        acc}
        .take();
  }
  reduce_and_store<kTokenTiles>(acc, room, w.row_scales[first_output + group],
                                w.row_scales[first_output + group + 8], w.outputs, first_token, x.rows, out);
}

// sums[t][g] = the sum of x[t] over group g. A thread a group.
__global__ void group_sums_kernel(Rows x, int group, float* sums) {
  const int g = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x), groups = x.columns / group;
  if (g >= groups) return;
  const bf16* const from = x.values + blockIdx.x * x.stride + g * group;
  float sum = 0;
  for (int i = 0; i < group; ++i) sum += to_float(from[i]);
  sums[static_cast<int64_t>(blockIdx.x) * groups + g] = sum;
}

}  // namespace

void matmul_skinny(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream) {
  const int token_tiles = x.rows <= kTokensPerTile ? 1 : 2;
  launch(token_tiles == 1 ? dense_kernel<1> : dense_kernel<2>,
         skinny_grid(w.outputs, x.rows, token_tiles, stream), w, x, out);
}

void matmul_skinny(const QuantisedMatrix& w, Rows x, float* sums, const MatmulOut& out, Stream stream) {
  const QuantisedLayout& l = w.layout;
  if (l.has_minimum) {
    const auto groups = static_cast<unsigned>(w.inputs / l.group);
    Rows read = x;
    read.columns = w.inputs;
    launch(group_sums_kernel, {dim3(static_cast<unsigned>(x.rows), (groups + 63) / 64), dim3(64), 0, stream},
           read, l.group, sums);
  }
  const int token_tiles = x.rows <= kTokensPerTile ? 1 : 2;
  const Grid grid = skinny_grid(w.outputs, x.rows, token_tiles, stream);
  with_layout(l, [&]<int kIndex>() {
    launch(token_tiles == 1 ? quantised_kernel<kIndex, 1> : quantised_kernel<kIndex, 2>, grid, w, x, sums,
           out);
  });
}

}  // namespace sluice::cuda
