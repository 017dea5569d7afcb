// Launchers of matrix multiplications, out[t][o] = sum_i w[o][i] * x[t][i] + bias[o], with activations in
// bf16, sums in f32, and weights dense in bf16 or quantised (quantised_layout.h). Whoever calls has checked
// shapes.
//
// Up to kSkinnyTokens tokens the weight is streamed once past the matrix units: 2 (dense) or `tile_bytes` /
// 1024 (quantised) bytes a weight, bound by memory. More tokens go through dense tiles.
//
// A token's sums are taken in an order that depends on the weight's shape and on which of the two ways is
// taken, not on the other tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/quantised_layout.h"

namespace sluice::cuda {

inline constexpr int kSkinnyTokens = 16;

struct DenseMatrix {
  const bf16* values = nullptr;  // [outputs, inputs]
  int outputs = 0, inputs = 0;   // inputs a multiple of 8
};

struct QuantisedMatrix {
  const std::byte* tiles = nullptr;
  const float* row_scales = nullptr;  // [outputs rounded up to 16]
  QuantisedLayout layout;
  int outputs = 0, inputs = 0;  // inputs a multiple of 32
};

// Where results go: bf16 or f32 (of logits), one of them null.
struct MatmulOut {
  bf16* rows = nullptr;
  float* rows_f32 = nullptr;
  int64_t stride = 0;
  const float* bias = nullptr;  // [outputs] or null
};

// Meant for up to kSkinnyTokens tokens; of more, each sixteen go through all weights.
void matmul_skinny(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream);
// Likewise. `sums`: room for [x.rows, inputs / 16] floats, for layouts with minima; else unused.
void matmul_skinny(const QuantisedMatrix& w, Rows x, float* sums, const MatmulOut& out, Stream stream);
// Any number of tokens.
void matmul_tiled(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream);
// out[t] += bias, for products that were made without.
void add_bias(const MatmulOut& out, int tokens, int outputs, Stream stream);
// The weight as bf16, [outputs, inputs]: for many tokens, and for peeking at single rows.
void dequantise(const QuantisedMatrix& w, bf16* out, Stream stream);

// out[t] = row ids[t] of the weight. Ids on the device, [out.rows], within the outputs.
void embed(const DenseMatrix& table, const int32_t* ids, Rows out, Stream stream);
void embed(const QuantisedMatrix& table, const int32_t* ids, Rows out, Stream stream);

}  // namespace sluice::cuda
