// Launchers of products with weights in E4M3, out[t][o] = sum_i value[o][i] * scale[o][i / 128] * x[t][i] +
// bias[o], and of what surrounds a library's product of two E4M3 matrices. Activations in bf16, sums in f32.
// Whoever calls has checked shapes.
//
// Few tokens stream the weight once past the matrix units, a byte a weight; E4M3 is exact in bf16, so that
// nothing is rounded but the tokens.
#pragma once

#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/matmul.h"

namespace sluice::cuda {

inline constexpr int kFp8ScaleInputs = 128;

struct Fp8Matrix {
  const fp8* values = nullptr;    // [outputs, inputs], inputs a multiple of 16
  const float* scales = nullptr;  // [outputs, groups]
  int outputs = 0, inputs = 0;
  int groups = 1;  // 1: one scale for a whole row; else one for each 128 inputs
};

// Meant for up to kSkinnyTokens tokens; of more, each sixteen go through all weights.
void matmul_skinny(const Fp8Matrix& w, Rows x, const MatmulOut& out, Stream stream);
// The weight as bf16, [outputs, inputs].
void dequantise(const Fp8Matrix& w, bf16* out, Stream stream);
// out[t] = row ids[t] of the weight. Ids on the device, [out.rows], within the outputs.
void embed(const Fp8Matrix& table, const int32_t* ids, Rows out, Stream stream);

// Tokens in E4M3, each with a scale of its own: its largest magnitude becomes 448.
struct Fp8Rows {
  fp8* values = nullptr;    // [rows, columns], columns a multiple of 16
  float* scales = nullptr;  // [rows]
  int rows = 0, columns = 0;
};
// x [to.rows, to.columns]: reads 2 bytes a value, writes 1.
void quantise(Rows x, const Fp8Rows& to, Stream stream);
// out[t][o] = out[t][o] * token_scales[t] * output_scales[o] + bias[o], in place.
void scale_products(const MatmulOut& out, int tokens, int outputs, const float* token_scales,
                    const float* output_scales, Stream stream);

}  // namespace sluice::cuda
