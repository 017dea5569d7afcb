// THE door of kernels to the machine: qualifiers, intrinsics, number formats, asynchronous copies, matrix
// instructions, launches. Kernels include this and nothing of CUDA, and write no PTX: so the same source runs
// on a GPU (compiled by nvcc) and, where SLUICE_EMULATED_GPU is defined, on the host
// (kernels/cuda/emulation).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/stream.h"
#include "kernels/dtype.h"

#ifdef SLUICE_EMULATED_GPU
#include "kernels/cuda/emulation/intrinsics.h"
#include "kernels/cuda/emulation/stream.h"
#include "kernels/cuda/emulation/tensor_core.h"
// The block's dynamic shared memory, aligned to 1024 bytes.
#define SLUICE_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::sluice::cuda::emulation::Block::current().dynamic_shared())
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "kernels/cuda/ptx.h"
#define SLUICE_DYNAMIC_SHARED(type, name)                           \
  extern __shared__ __align__(1024) unsigned char dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(dynamic_shared)
#endif

namespace sluice::cuda {

inline constexpr int kWarp = 32;

// ---- number formats: bits in memory (gpu_types.h), float in registers ----

#ifdef SLUICE_EMULATED_GPU
inline float to_float(bf16 v) {
  return bf16_to_f32(v.bits);
}
inline float to_float(f16 v) {
  return f16_to_f32(v.bits);
}
inline void convert(float v, bf16& out) {
  out.bits = f32_to_bf16(v);
}
inline void convert(float v, f16& out) {
  out.bits = f32_to_f16(v);
}
inline float to_float(fp8 v) {
  return f8_to_f32(v.bits);
}
inline void convert(float v, fp8& out) {
  out.bits = f32_to_f8(v);
}
inline uint32_t pack_bf16(float low, float high) {
  return f32_to_bf16(low) | static_cast<uint32_t>(f32_to_bf16(high)) << 16U;
}
inline uint32_t pack_f16(float low, float high) {
  return f32_to_f16(low) | static_cast<uint32_t>(f32_to_f16(high)) << 16U;
}
// Of a word of four fp8: bf16_of_fp8<0> is the first two as two bf16, <1> the last two, exactly (of weights,
// which are numbers). f16_of_fp8: the two in the low half of a word as two f16.
template <int kHalf>
inline uint32_t bf16_of_fp8(uint32_t word) {
  const uint32_t pair = word >> (16 * kHalf);
  return pack_bf16(f8_to_f32(static_cast<uint8_t>(pair)), f8_to_f32(static_cast<uint8_t>(pair >> 8U)));
}
inline uint32_t f16_of_fp8(uint32_t pair) {
  return pack_f16(f8_to_f32(static_cast<uint8_t>(pair)), f8_to_f32(static_cast<uint8_t>(pair >> 8U)));
}
#else
__device__ __forceinline__ float to_float(bf16 v) {
  return __uint_as_float(static_cast<uint32_t>(v.bits) << 16);
}
__device__ __forceinline__ float to_float(f16 v) {
  return __half2float(__ushort_as_half(v.bits));
}
__device__ __forceinline__ void convert(float v, bf16& out) {
  out.bits = __bfloat16_as_ushort(__float2bfloat16_rn(v));
}
__device__ __forceinline__ void convert(float v, f16& out) {
  out.bits = __half_as_ushort(__float2half_rn(v));
}
__device__ __forceinline__ float to_float(fp8 v) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(v.bits, __NV_E4M3)));
}
__device__ __forceinline__ void convert(float v, fp8& out) {
  out.bits = __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
}
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ uint32_t pack_f16(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <int kHalf>
__device__ __forceinline__ uint32_t bf16_of_fp8(uint32_t word) {
  // Moved to where bf16 has its exponent, an fp8 is 2^-120 of what it was, small ones too.
  const uint32_t spread = __byte_perm(word, 0, kHalf == 0 ? 0x1404 : 0x3424);
  const uint32_t bits = (spread & 0x80008000U) | (spread >> 4U & 0x07f007f0U);
  const uint32_t power = 0x7b807b80U;  // 2^120, twice
  const __nv_bfloat162 scaled = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits),
                                        *reinterpret_cast<const __nv_bfloat162*>(&power));
  return *reinterpret_cast<const uint32_t*>(&scaled);
}
__device__ __forceinline__ uint32_t f16_of_fp8(uint32_t pair) {
  const __half2_raw both = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(pair), __NV_E4M3);
  return both.x | static_cast<uint32_t>(both.y) << 16U;
}
#endif
__device__ __forceinline__ float to_float(float v) {
  return v;
}
__device__ __forceinline__ void convert(float v, float& out) {
  out = v;
}
__device__ __forceinline__ float low_bf16(uint32_t pair) {
  return __uint_as_float(pair << 16U);
}
__device__ __forceinline__ float high_bf16(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000U);
}

// ---- sums over threads ----

// Over all lanes, the same order on every lane.
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int bits = kWarp / 2; bits > 0; bits /= 2) v += __shfl_xor_sync(~0U, v, bits);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int bits = kWarp / 2; bits > 0; bits /= 2) v = max(v, __shfl_xor_sync(~0U, v, bits));
  return v;
}

// ---- launches ----

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes = 0;  // dynamic
  Stream stream = nullptr;
};

#ifdef SLUICE_EMULATED_GPU
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Grid& grid, Arguments... arguments) {
  emulation::enqueue(grid.stream, [=] {
    const std::function<void()> body = [&] { kernel(static_cast<Parameters>(arguments)...); };
    emulation::run_or_fail({{grid.blocks.x, grid.blocks.y, grid.blocks.z},
                            {grid.threads.x, grid.threads.y, grid.threads.z},
                            grid.shared_bytes,
                            &body});
  });
}
#else
void check_launch(cudaError_t error, const char* what);

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Grid& grid, Arguments... arguments) {
  if (grid.shared_bytes > size_t{48} << 10) {
    check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(grid.shared_bytes)),
                 "the shared memory of a kernel");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = grid.stream;
  check_launch(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
               "the launch of a kernel");
}
#endif

}  // namespace sluice::cuda
