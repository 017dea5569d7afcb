// Norms, activations, rotary positions, gathers. A block takes a row (or a head of one) and its threads go
// along it in steps of 8 elements, 16 bytes: full lines of memory for every warp. Sums are in f32, in an
// order that depends on the row's length alone.
#include "kernels/cuda/pointwise.h"

#include "kernels/cuda/gpu.h"

namespace sluice::cuda {
namespace {

constexpr int kVector = 8;  // bf16 in 16 bytes

struct Eight {
  float v[kVector];
};

__device__ __forceinline__ Eight load_eight(const bf16* from) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  return {{low_bf16(raw.x), high_bf16(raw.x), low_bf16(raw.y), high_bf16(raw.y), low_bf16(raw.z),
           high_bf16(raw.z), low_bf16(raw.w), high_bf16(raw.w)}};
}

__device__ __forceinline__ void store_eight(bf16* to, const Eight& e) {
  *reinterpret_cast<uint4*>(to) = make_uint4(pack_bf16(e.v[0], e.v[1]), pack_bf16(e.v[2], e.v[3]),
                                             pack_bf16(e.v[4], e.v[5]), pack_bf16(e.v[6], e.v[7]));
}

// Over all threads of a block of whole warps. `room`: one float for each warp; free again at the next barrier
// behind this.
__device__ __forceinline__ float block_sum(float v, float* room) {
  v = warp_sum(v);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) room[threadIdx.x / kWarp] = v;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < warps; ++w) total += room[w];
  return total;
}

// ---- norms: a block a row ----

constexpr int kNormThreads = 256;

template <bool kAdd>
__global__ void __launch_bounds__(kNormThreads)
    norm_kernel(Rows x, Rows delta, const float* scale, float eps, Rows out) {
  __shared__ float room[kNormThreads / kWarp];
  const int64_t row = blockIdx.x;
  bf16* const own = x.values + row * x.stride;
  float squares = 0;
  for (int i = threadIdx.x * kVector; i < x.columns; i += kNormThreads * kVector) {
    Eight e = load_eight(own + i);
    if constexpr (kAdd) {
      const Eight d = load_eight(delta.values + row * delta.stride + i);
      for (int k = 0; k < kVector; ++k) e.v[k] += d.v[k];
      store_eight(own + i, e);
      e = load_eight(own + i);  // as it was rounded, so that it equals a later reading
    }
    for (int k = 0; k < kVector; ++k) squares += e.v[k] * e.v[k];
  }
  const float inverse = rsqrtf(block_sum(squares, room) / static_cast<float>(x.columns) + eps);
  for (int i = threadIdx.x * kVector; i < x.columns; i += kNormThreads * kVector) {
    Eight e = load_eight(own + i);
    for (int k = 0; k < kVector; ++k) e.v[k] *= inverse * scale[i + k];
    store_eight(out.values + row * out.stride + i, e);
  }
}

// A warp a head: lane l has the pairs l, l + 32, …
__global__ void __launch_bounds__(kWarp)
    head_norm_kernel(Rows x, int head_size, const float* scale, float eps) {
  bf16* const head = x.values + blockIdx.x * x.stride + static_cast<int64_t>(blockIdx.y) * head_size;
  auto* const pairs = reinterpret_cast<uint32_t*>(head);
  float squares = 0;
  for (int p = threadIdx.x; p < head_size / 2; p += kWarp) {
    const float a = low_bf16(pairs[p]), b = high_bf16(pairs[p]);
    squares += a * a + b * b;
  }
  const float inverse = rsqrtf(warp_sum(squares) / static_cast<float>(head_size) + eps);
  for (int p = threadIdx.x; p < head_size / 2; p += kWarp) {
    pairs[p] = pack_bf16(low_bf16(pairs[p]) * inverse * scale[2 * p],
                         high_bf16(pairs[p]) * inverse * scale[2 * p + 1]);
  }
}

// ---- activations: a thread eight outputs ----

constexpr int kFlatThreads = 128;

template <Activation kKind>
__global__ void __launch_bounds__(kFlatThreads) gated_activation_kernel(Rows gate_up, Rows out) {
  const int i = static_cast<int>(blockIdx.y * kFlatThreads + threadIdx.x) * kVector;
  if (i >= out.columns) return;
  const bf16* const row = gate_up.values + blockIdx.x * gate_up.stride;
  Eight gate = load_eight(row + i);
  const Eight up = load_eight(row + out.columns + i);
  for (int k = 0; k < kVector; ++k) {
    const float g = gate.v[k];
    if constexpr (kKind == Activation::kSilu) {
      gate.v[k] = g / (1.0F + __expf(-g)) * up.v[k];
    } else {  // https://arxiv.org/abs/1606.08415, by tanh(u) = 1 - 2 / (1 + e^2u)
      const float u = 0.7978845608F * (g + 0.044715F * g * g * g);
      gate.v[k] = 0.5F * g * (2.0F - 2.0F / (1.0F + __expf(2.0F * u))) * up.v[k];
    }
  }
  store_eight(out.values + blockIdx.x * out.stride + i, gate);
}

// ---- gathers ----

__global__ void __launch_bounds__(kFlatThreads) gather_kernel(Rows x, const int32_t* rows, Rows out) {
  const int i = static_cast<int>(blockIdx.y * kFlatThreads + threadIdx.x) * kVector;
  if (i >= x.columns) return;
  *reinterpret_cast<uint4*>(out.values + blockIdx.x * out.stride + i) =
      *reinterpret_cast<const uint4*>(x.values + rows[blockIdx.x] * x.stride + i);
}

__global__ void __launch_bounds__(kFlatThreads) gather_f32_kernel(Rows x, const int32_t* rows, float* out) {
  const int i = static_cast<int>(blockIdx.y * kFlatThreads + threadIdx.x) * kVector;
  if (i >= x.columns) return;
  const Eight e = load_eight(x.values + rows[blockIdx.x] * x.stride + i);
  float* const to = out + static_cast<int64_t>(blockIdx.x) * x.columns + i;
  for (int k = 0; k < kVector; ++k) to[k] = e.v[k];
}

__global__ void __launch_bounds__(kFlatThreads) reorder_kernel(Rows x, const int32_t* order, Rows out) {
  const int i = static_cast<int>(blockIdx.y * kFlatThreads + threadIdx.x) * kVector;
  if (i >= out.columns) return;
  const bf16* const from = x.values + blockIdx.x * x.stride;
  uint32_t pairs[kVector / 2];
#pragma unroll
  for (int k = 0; k < kVector / 2; ++k)
    pairs[k] = from[order[i + 2 * k]].bits | static_cast<uint32_t>(from[order[i + 2 * k + 1]].bits) << 16U;
  *reinterpret_cast<uint4*>(out.values + blockIdx.x * out.stride + i) =
      make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// ---- rotary positions ----

// In double precision: at position 100,000 a float angle is off by hundredths. Once a step, T * D / 2 of
// them.
__global__ void rope_angles_kernel(const int32_t* positions, const float* inverse_frequencies, int half,
                                   float factor, float* out) {
  const int t = blockIdx.x;
  for (int i = threadIdx.x; i < half; i += static_cast<int>(blockDim.x)) {
    const double angle = static_cast<double>(positions[t]) * static_cast<double>(inverse_frequencies[i]);
    double sine = 0, cosine = 0;
    sincos(angle, &sine, &cosine);
    out[static_cast<int64_t>(t) * 2 * half + i] = static_cast<float>(cosine) * factor;
    out[static_cast<int64_t>(t) * 2 * half + half + i] = static_cast<float>(sine) * factor;
  }
}

// A warp a head of a token. Blocks [0, H) rotate queries, [H, H + K) rotate keys and store them, the last K
// store values.
template <class Stored, RopeStyle kStyle>
__global__ void __launch_bounds__(kWarp) rope_store_kernel(Rows qkv, int query_heads, const float* angles,
                                                           const int64_t* slots, PagedCache cache) {
  const int t = blockIdx.x, h = blockIdx.y, d = cache.head_size, half = d / 2;
  bf16* const head = qkv.values + t * qkv.stride + static_cast<int64_t>(h) * d;
  const bool is_value = h >= query_heads + cache.kv_heads;
  if (!is_value) {
    const float* const cosines = angles + static_cast<int64_t>(t) * d;
    for (int i = threadIdx.x; i < half; i += kWarp) {
      bf16& a = kStyle == RopeStyle::kHalf ? head[i] : head[2 * i];
      bf16& b = kStyle == RopeStyle::kHalf ? head[i + half] : head[2 * i + 1];
      const float cosine = cosines[i], sine = cosines[half + i], old_a = to_float(a), old_b = to_float(b);
      convert(old_a * cosine - old_b * sine, a);
      convert(old_b * cosine + old_a * sine, b);
    }
  }
  const int64_t slot = slots[t], block = slot / cache.block_tokens;
  if (h < query_heads || slot < 0) return;
  __syncwarp();  // each lane stores what others rotated
  const int kv_head = is_value ? h - query_heads - cache.kv_heads : h - query_heads;
  const int row = static_cast<int>(slot % cache.block_tokens);
  std::byte* const page =
      (is_value ? cache.values : cache.keys) + (block * cache.kv_heads + kv_head) * cache.page_bytes;
  if constexpr (sizeof(Stored) == 1) {
    float largest = 0;
    for (int i = threadIdx.x; i < d; i += kWarp) largest = max(largest, fabsf(to_float(head[i])));
    largest = warp_max(largest);
    const float inverse = largest > 0 ? kLargestFp8 / largest : 0;
    auto* const scales = reinterpret_cast<float*>(page + static_cast<int64_t>(cache.block_tokens) * d);
    if (threadIdx.x == 0) scales[row] = largest / kLargestFp8;
    auto* const to = reinterpret_cast<fp8*>(page);
    for (int i = threadIdx.x; i < d; i += kWarp) {
      const int at = is_value ? (row / 2 * d + i) * 2 + row % 2 : row * d + i;
      convert(to_float(head[i]) * inverse, to[at]);
    }
  } else {
    auto* const to = reinterpret_cast<Stored*>(page) + static_cast<int64_t>(row) * d;
    for (int i = threadIdx.x; i < d; i += kWarp) convert(to_float(head[i]), to[i]);
  }
}

__global__ void __launch_bounds__(128) resolve_kernel(int32_t* ids, int count, const int32_t* latest) {
  const int t = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (t < count && ids[t] < 0) ids[t] = latest[~ids[t]];
}

dim3 flat_blocks(int rows, int columns) {
  constexpr int kPerBlock = kFlatThreads * kVector;
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((columns + kPerBlock - 1) / kPerBlock));
}

template <class Stored>
void launch_rope_store(Rows qkv, const AttentionShape& shape, RopeStyle style, const float* angles,
                       const int64_t* slots, const PagedCache& cache, Stream stream) {
  const Grid grid{
      dim3(static_cast<unsigned>(qkv.rows), static_cast<unsigned>(shape.query_heads + 2 * shape.kv_heads)),
      dim3(kWarp), 0, stream};
  const auto kernel = style == RopeStyle::kHalf ? rope_store_kernel<Stored, RopeStyle::kHalf>
                                                : rope_store_kernel<Stored, RopeStyle::kInterleaved>;
  launch(kernel, grid, qkv, shape.query_heads, angles, slots, cache);
}

}  // namespace

void rms_norm(Rows x, const float* scale, float eps, Rows out, Stream stream) {
  launch(norm_kernel<false>, {dim3(static_cast<unsigned>(x.rows)), dim3(kNormThreads), 0, stream}, x, Rows{},
         scale, eps, out);
}

void add_rms_norm(Rows residual, Rows delta, const float* scale, float eps, Rows out, Stream stream) {
  launch(norm_kernel<true>, {dim3(static_cast<unsigned>(residual.rows)), dim3(kNormThreads), 0, stream},
         residual, delta, scale, eps, out);
}

void head_norm(Rows x, int heads, int head_size, const float* scale, float eps, Stream stream) {
  launch(head_norm_kernel,
         {dim3(static_cast<unsigned>(x.rows), static_cast<unsigned>(heads)), dim3(kWarp), 0, stream}, x,
         head_size, scale, eps);
}

void gated_activation(Activation kind, Rows gate_up, Rows out, Stream stream) {
  const auto kernel = kind == Activation::kSilu ? gated_activation_kernel<Activation::kSilu>
                                                : gated_activation_kernel<Activation::kGeluTanh>;
  launch(kernel, {flat_blocks(out.rows, out.columns), dim3(kFlatThreads), 0, stream}, gate_up, out);
}

void resolve_tokens(int32_t* ids, int count, const int32_t* latest, Stream stream) {
  launch(resolve_kernel, {dim3(static_cast<unsigned>((count + 127) / 128)), dim3(128), 0, stream}, ids, count,
         latest);
}

void gather_rows(Rows x, const int32_t* rows, Rows out, Stream stream) {
  launch(gather_kernel, {flat_blocks(out.rows, x.columns), dim3(kFlatThreads), 0, stream}, x, rows, out);
}

void gather_rows_f32(Rows x, const int32_t* rows, int count, float* out, Stream stream) {
  launch(gather_f32_kernel, {flat_blocks(count, x.columns), dim3(kFlatThreads), 0, stream}, x, rows, out);
}

void reorder(Rows x, const int32_t* order, Rows out, Stream stream) {
  launch(reorder_kernel, {flat_blocks(out.rows, out.columns), dim3(kFlatThreads), 0, stream}, x, order, out);
}

void rope_angles(const int32_t* positions, int tokens, const float* inverse_frequencies, int half,
                 float factor, float* out, Stream stream) {
  launch(rope_angles_kernel, {dim3(static_cast<unsigned>(tokens)), dim3(64), 0, stream}, positions,
         inverse_frequencies, half, factor, out);
}

void rope_store_kv(Rows qkv, const AttentionShape& shape, RopeStyle style, const float* angles,
                   const int64_t* slots, const PagedCache& cache, Stream stream) {
  switch (cache.dtype) {
    case DType::kBF16:
      return launch_rope_store<bf16>(qkv, shape, style, angles, slots, cache, stream);
    case DType::kF16:
      return launch_rope_store<f16>(qkv, shape, style, angles, slots, cache, stream);
    default:
      return launch_rope_store<fp8>(qkv, shape, style, angles, slots, cache, stream);
  }
}

}  // namespace sluice::cuda
