// Launchers of the operations that go once over their rows: norms, activations, rotary positions, gathers.
// Each is bound by memory; the bytes are told with each. Rows lie `stride` elements apart. Whoever calls has
// checked shapes; work is enqueued on `stream` and nothing is waited for.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/paged_cache.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

struct bf16;

// [rows, columns], rows `stride` elements apart.
struct Rows {
  bf16* values = nullptr;
  int64_t stride = 0;
  int rows = 0, columns = 0;
};

// out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * scale. x may be out. Reads and writes 4 bytes an element.
void rms_norm(Rows x, const float* scale, float eps, Rows out, Stream stream);
// residual[t] += delta[t]; out[t] = rms_norm(residual[t]). 8 bytes an element.
void add_rms_norm(Rows residual, Rows delta, const float* scale, float eps, Rows out, Stream stream);
// In place, each of `heads` runs of `head_size` columns by itself. head_size <= 256.
void head_norm(Rows x, int heads, int head_size, const float* scale, float eps, Stream stream);
// out[t] = activation(gate[t]) * up[t]; gate_up [T, 2F], gate first; out [T, F]. 6 bytes an output.
void gated_activation(Activation kind, Rows gate_up, Rows out, Stream stream);
// ids[t] below 0 become latest[~ids[t]]: what the step before has chosen.
void resolve_tokens(int32_t* ids, int count, const int32_t* latest, Stream stream);
// out[r] = x[rows[r]]; `rows` on the device, [out.rows].
void gather_rows(Rows x, const int32_t* rows, Rows out, Stream stream);
// The same as f32, out [count, x.columns] dense.
void gather_rows_f32(Rows x, const int32_t* rows, int count, float* out, Stream stream);
// out[t][c] = x[t][order[c]]; `order` on the device, [out.columns], a permutation. 4 bytes an element.
void reorder(Rows x, const int32_t* order, Rows out, Stream stream);
// out [tokens, 2 * half]: cosines, then sines, of positions[t] * inverse_frequencies[i], times `factor`.
void rope_angles(const int32_t* positions, int tokens, const float* inverse_frequencies, int half,
                 float factor, float* out, Stream stream);

// Rotates q and k of qkv [T, (H + 2K) * D] in place, then writes each token's k and v into its slot, where
// that is not below 0.
void rope_store_kv(Rows qkv, const AttentionShape& shape, RopeStyle style, const float* angles,
                   const int64_t* slots, const PagedCache& cache, Stream stream);

}  // namespace sluice::cuda
