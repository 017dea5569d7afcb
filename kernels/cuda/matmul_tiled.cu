// Many tokens: a block computes 128 tokens by 128 outputs in steps of 32 inputs, which four stages of
// asynchronous copies bring into shared memory ahead of the matrix units. Eight warps, each 64 tokens by 32
// outputs. For machines without cuBLASLt, and for weights that it does not know.
//
// Shared memory holds rows of 32 inputs, four chunks of 16 bytes; chunk c of row r lies at c ^ (r / 2 % 4),
// so that the eight rows of a matrix load fall into different banks.
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/tile_values.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 128, kOutputs = 128, kInputs = 32, kStages = 4;
constexpr int kWarpTokens = 64, kWarpOutputs = 32;
constexpr int kChunk = 8, kChunks = kInputs / kChunk;  // bf16 in 16 bytes; in a row
constexpr int kStageElements = (kTokens + kOutputs) * kInputs;

__device__ __forceinline__ bf16* place_of(bf16* rows, int row, int chunk) {
  return rows + row * kInputs + (chunk ^ (row / 2 % kChunks)) * kChunk;
}

struct Tile {
  DenseMatrix w;
  Rows x;
  int first_token, first_output;

  // Begins the copies of inputs [k, k + 32); what lies beyond the matrices becomes zero.
  __device__ __forceinline__ void fetch(bf16* stage, int k) const {
    for (int i = static_cast<int>(threadIdx.x); i < (kTokens + kOutputs) * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks, at = k + chunk * kChunk;
      if (row < kTokens) {
        const bool valid = first_token + row < x.rows && at < w.inputs;
        copy_async_16(place_of(stage, row, chunk),
                      valid ? x.values + (first_token + row) * x.stride + at : x.values, valid);
      } else {
        const int output = first_output + row - kTokens;
        const bool valid = output < w.outputs && at < w.inputs;
        copy_async_16(place_of(stage + kTokens * kInputs, row - kTokens, chunk),
                      valid ? w.values + static_cast<int64_t>(output) * w.inputs + at : w.values, valid);
      }
    }
  }
};

__global__ void __launch_bounds__(kThreads) tiled_kernel(DenseMatrix w, Rows x, MatmulOut out) {
  SLUICE_DYNAMIC_SHARED(bf16, stages);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int token_base = warp % 2 * kWarpTokens, output_base = warp / 2 * kWarpOutputs;
  const Tile tile{w, x, static_cast<int>(blockIdx.y) * kTokens, static_cast<int>(blockIdx.x) * kOutputs};
  const int steps = (w.inputs + kInputs - 1) / kInputs;

  float acc[kWarpTokens / 16][kWarpOutputs / 8][4] = {};
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) tile.fetch(stages + s * kStageElements, s * kInputs);
    copy_async_commit();
  }
  for (int step = 0; step < steps; ++step) {
    SLUICE_COPY_ASYNC_WAIT(kStages - 2);
    __syncthreads();  // everyone's copies are there, and everyone is done with the stage that comes next
    const int ahead = step + kStages - 1;
    if (ahead < steps) tile.fetch(stages + ahead % kStages * kStageElements, ahead * kInputs);
    copy_async_commit();
    bf16* const tokens = stages + step % kStages * kStageElements;
    bf16* const outputs = tokens + kTokens * kInputs;
#pragma unroll
    for (int half = 0; half < kInputs / 16; ++half) {
      uint32_t a[kWarpTokens / 16][4], b[kWarpOutputs / 8][2];
#pragma unroll
      for (int i = 0; i < kWarpTokens / 16; ++i)
        load_matrix_x4(a[i], place_of(tokens, token_base + 16 * i + lane % 16, 2 * half + lane / 16));
#pragma unroll
      for (int j = 0; j < kWarpOutputs / 16; ++j) {
        uint32_t four[4];
        load_matrix_x4(four, place_of(outputs, output_base + 16 * j + lane % 8 + lane / 16 * 8,
                                      2 * half + lane / 8 % 2));
        b[2 * j][0] = four[0];
        b[2 * j][1] = four[1];
        b[2 * j + 1][0] = four[2];
        b[2 * j + 1][1] = four[3];
      }
#pragma unroll
      for (int i = 0; i < kWarpTokens / 16; ++i) {
#pragma unroll
        for (int j = 0; j < kWarpOutputs / 8; ++j) multiply_bf16(acc[i][j], a[i], b[j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kWarpTokens / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kWarpOutputs / 8; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int token = tile.first_token + token_base + 16 * i + lane / 4 + 8 * (k / 2);
        const int output = tile.first_output + output_base + 8 * j + 2 * (lane % 4) + k % 2;
        if (token >= x.rows || output >= w.outputs) continue;
        const float sum = acc[i][j][k] + (out.bias != nullptr ? out.bias[output] : 0.0F);
        const int64_t to = token * out.stride + output;
        if (out.rows != nullptr)
          convert(sum, out.rows[to]);
        else
          out.rows_f32[to] = sum;
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads) add_bias_kernel(MatmulOut out, int outputs) {
  const int output = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (output >= outputs) return;
  const int64_t at = blockIdx.x * out.stride + output;
  if (out.rows != nullptr)
    convert(to_float(out.rows[at]) + out.bias[output], out.rows[at]);
  else
    out.rows_f32[at] += out.bias[output];
}

// ---- single rows and whole weights in bf16 ----

// Four of the lane's values of a step: of output g where `upper` is 0, of g + 8 where it is 1.
template <int kIndex, int s>
__device__ __forceinline__ void write_step(const TileValues<kLayouts[kIndex].bits>& values,
                                           const std::byte* tile, float row_scale, int output, bf16* out) {
  constexpr QuantisedLayout kLayout = kLayouts[kIndex];
  const int place = 16 * s / kLayout.group * kTileOutputs + output;
  const float zero = zero_at<kIndex>(tile, place);
  uint32_t a[4];
  values.template unpack<s>(zero, zero, a);
  const GroupScale of = GroupScale::at<kLayout.has_minimum>(tile + kLayout.scales_at(), place);
  const float scale = of.scale * row_scale, minimum = of.minimum * row_scale;
  const uint32_t first = output < 8 ? a[0] : a[1], second = output < 8 ? a[2] : a[3];
  *reinterpret_cast<uint2*>(out + 16 * s) =
      make_uint2(pack_bf16(low_bf16(first) * scale + minimum, high_bf16(first) * scale + minimum),
                 pack_bf16(low_bf16(second) * scale + minimum, high_bf16(second) * scale + minimum));
}

// Row `output` of the weight, inputs 4 q … of each step of a tile.
template <int kIndex>
__device__ __forceinline__ void write_piece(const QuantisedMatrix& w, int output, int tile_index, int quad,
                                            bf16* out) {
  constexpr QuantisedLayout kLayout = kLayouts[kIndex];
  const int tiles = (w.inputs + kTileInputs - 1) / kTileInputs, in_tile = output % kTileOutputs;
  const std::byte* const tile =
      w.tiles + (static_cast<int64_t>(output / kTileOutputs) * tiles + tile_index) * kLayout.tile_bytes();
  TileValues<kLayout.bits> values;
  values.load(tile, 4 * (in_tile % 8) + quad);
  const float row_scale = w.row_scales[output];
  bf16* const to = out + tile_index * kTileInputs + 4 * quad;
  write_step<kIndex, 0>(values, tile, row_scale, in_tile, to);
  write_step<kIndex, 1>(values, tile, row_scale, in_tile, to);
  if (tile_index * kTileInputs + 32 >= w.inputs) return;
  write_step<kIndex, 2>(values, tile, row_scale, in_tile, to);
  write_step<kIndex, 3>(values, tile, row_scale, in_tile, to);
}

constexpr int kRowThreads = 128;

// A thread a quarter of a tile's row. `ids` null: row r of the result is row r of the weight.
template <int kIndex>
__global__ void __launch_bounds__(kRowThreads) rows_kernel(QuantisedMatrix w, const int32_t* ids, Rows out) {
  const int piece = static_cast<int>(blockIdx.y * kRowThreads + threadIdx.x);
  if (piece >= (w.inputs + kTileInputs - 1) / kTileInputs * 4) return;
  const int row = static_cast<int>(blockIdx.x);
  write_piece<kIndex>(w, ids == nullptr ? row : ids[row], piece / 4, piece % 4,
                      out.values + row * out.stride);
}

void write_rows(const QuantisedMatrix& w, const int32_t* ids, Rows out, Stream stream) {
  const int pieces = (w.inputs + kTileInputs - 1) / kTileInputs * 4;
  const Grid grid{
      dim3(static_cast<unsigned>(out.rows), static_cast<unsigned>((pieces + kRowThreads - 1) / kRowThreads)),
      dim3(kRowThreads), 0, stream};
  with_layout(w.layout, [&]<int kIndex>() { launch(rows_kernel<kIndex>, grid, w, ids, out); });
}

}  // namespace

void matmul_tiled(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream) {
  launch(tiled_kernel,
         {dim3(static_cast<unsigned>((w.outputs + kOutputs - 1) / kOutputs),
               static_cast<unsigned>((x.rows + kTokens - 1) / kTokens)),
          dim3(kThreads), sizeof(bf16) * kStageElements * kStages, stream},
         w, x, out);
}

void add_bias(const MatmulOut& out, int tokens, int outputs, Stream stream) {
  launch(add_bias_kernel,
         {dim3(static_cast<unsigned>(tokens), static_cast<unsigned>((outputs + kThreads - 1) / kThreads)),
          dim3(kThreads), 0, stream},
         out, outputs);
}

void dequantise(const QuantisedMatrix& w, bf16* out, Stream stream) {
  write_rows(w, nullptr, {out, w.inputs, w.outputs, w.inputs}, stream);
}

void embed(const DenseMatrix& table, const int32_t* ids, Rows out, Stream stream) {
  const Rows rows{const_cast<bf16*>(table.values), table.inputs, table.outputs, table.inputs};
  gather_rows(rows, ids, out, stream);
}

void embed(const QuantisedMatrix& table, const int32_t* ids, Rows out, Stream stream) {
  write_rows(table, ids, out, stream);
}

}  // namespace sluice::cuda
