// The operations as functions of plain arrays; reference_backend.cc puts them behind the contract.
#pragma once

#include "kernels/backend.h"

namespace sluice::reference {

void rms_norm(TensorView x, const float* scale, float eps, TensorView out);
void matmul(const float* weights, int64_t rows, int64_t columns, TensorView x, const float* bias,
            TensorView out);
void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                 float attention_factor, TensorView out);
void rotate(float* head, int head_size, RopeStyle style, const float* angles);

// One element of a page as f32, and its way in. Writing int8 needs the whole head first, for its scale.
float load_key(const KvView& cache, int64_t slot, int kv_head, int d);
float load_value(const KvView& cache, int64_t slot, int kv_head, int d);
void store_key(const KvView& cache, int64_t slot, int kv_head, const float* head);
void store_value(const KvView& cache, int64_t slot, int kv_head, const float* head);

void attention(const StepBatch& batch, const AttentionShape& shape, TensorView qkv, const KvView& cache,
               TensorView out);
void gated_activation(Activation kind, TensorView gate_up, TensorView out);

}  // namespace sluice::reference
