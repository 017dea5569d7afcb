// What CUDA gives a kernel without being asked (CUDA C++ Programming Guide, appendix C++ Language
// Extensions), for emulation: qualifiers, built-in variables and vectors, barriers, warp operations, atomics,
// float intrinsics. Included by kernels/cuda/gpu.h alone.
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/emulation/machine.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
// A block runs to its end on one OS thread, and no other block meanwhile.
#define __shared__ static thread_local

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define threadIdx (::sluice::cuda::emulation::Block::current().thread().index)
#define blockIdx (::sluice::cuda::emulation::Block::current().index())
#define blockDim (::sluice::cuda::emulation::Block::current().launch().block)
#define gridDim (::sluice::cuda::emulation::Block::current().launch().grid)

// ---- barriers ----

namespace sluice::cuda::emulation {

struct NumberedSite {
  Site site;
  int number;
  NumberedSite(const char* file, int line, const char* what)
      : site{file, line, what}, number(number_of(site)) {}
};

inline Block::Votes sync_block(const NumberedSite& at, bool vote = false) {
  if (is_left_out(at.number)) return {vote ? 1 : 0, 1};
  return Block::current().barrier(at.site, vote);
}

inline int lane() {
  return static_cast<int>(Block::current().thread().lane);
}

}  // namespace sluice::cuda::emulation

#define SLUICE_EMULATED_SITE(what)                                                       \
  ([]() -> const ::sluice::cuda::emulation::NumberedSite& {                              \
    static const ::sluice::cuda::emulation::NumberedSite site(__FILE__, __LINE__, what); \
    return site;                                                                         \
  }())
#define __syncthreads() ((void)::sluice::cuda::emulation::sync_block(SLUICE_EMULATED_SITE("barrier")))
#define __syncthreads_or(vote) \
  (::sluice::cuda::emulation::sync_block(SLUICE_EMULATED_SITE("barrier"), (vote)).count > 0 ? 1 : 0)
#define __syncthreads_count(vote) \
  (::sluice::cuda::emulation::sync_block(SLUICE_EMULATED_SITE("barrier"), (vote)).count)

inline void sync_warp_at(const sluice::cuda::emulation::NumberedSite& at, uint32_t mask) {
  static const char operation = 0;
  if (sluice::cuda::emulation::is_left_out(at.number)) return;
  sluice::cuda::emulation::Block::current().warp_operation(mask, &operation, nullptr, nullptr, nullptr);
}
#define __syncwarp(...) \
  sync_warp_at(SLUICE_EMULATED_SITE("warp barrier"), ::sluice::cuda::emulation::mask_of(__VA_ARGS__))

inline void __threadfence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {
  sluice::cuda::emulation::Block::current().yield();
}

// ---- warp operations ----

namespace sluice::cuda::emulation {

inline uint32_t mask_of(uint32_t mask = ~0U) {
  return mask;
}

template <class T>
struct Shuffled {
  T value;
  int source;
};

template <class T>
T shuffle(uint32_t mask, T value, int source) {
  static const char operation = 0;
  Shuffled<T> in{value, source};
  T out{};
  Block::current().warp_operation(mask, &operation, &in, &out, [](Thread* const lanes[32], uint32_t m) {
    for (unsigned l = 0; l < 32; ++l) {
      if ((m >> l & 1U) == 0) continue;
      const auto* own = static_cast<const Shuffled<T>*>(lanes[l]->in);
      if ((m >> own->source & 1U) == 0)
        Block::current().fail("a shuffle reads from a lane that takes no part in it");
      *static_cast<T*>(lanes[l]->out) = static_cast<const Shuffled<T>*>(lanes[own->source]->in)->value;
    }
  });
  return out;
}

template <class T, class Combine>
T reduce(uint32_t mask, T value) {
  static const char operation = 0;
  T out{};
  Block::current().warp_operation(mask, &operation, &value, &out, [](Thread* const lanes[32], uint32_t m) {
    T all = *static_cast<const T*>(lanes[std::countr_zero(m)]->in);
    for (unsigned l = static_cast<unsigned>(std::countr_zero(m)) + 1; l < 32; ++l) {
      if ((m >> l & 1U) != 0) all = Combine()(all, *static_cast<const T*>(lanes[l]->in));
    }
    for (unsigned l = 0; l < 32; ++l) {
      if ((m >> l & 1U) != 0) *static_cast<T*>(lanes[l]->out) = all;
    }
  });
  return out;
}

struct Smaller {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct Larger {
  template <class T>
  T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

}  // namespace sluice::cuda::emulation

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const int lane = sluice::cuda::emulation::lane();
  return sluice::cuda::emulation::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32) {
  const int lane = sluice::cuda::emulation::lane(), source = lane ^ bits;
  const bool inside = (source & ~(width - 1)) == (lane & ~(width - 1));
  return sluice::cuda::emulation::shuffle(mask, value, inside ? source : lane);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  const int lane = sluice::cuda::emulation::lane(), source = lane + static_cast<int>(by);
  return sluice::cuda::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  const int lane = sluice::cuda::emulation::lane(), source = lane - static_cast<int>(by);
  return sluice::cuda::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source);
}
template <class T>
T __reduce_add_sync(uint32_t mask, T value) {
  return sluice::cuda::emulation::reduce<T, std::plus<>>(mask, value);
}
template <class T>
T __reduce_min_sync(uint32_t mask, T value) {
  return sluice::cuda::emulation::reduce<T, sluice::cuda::emulation::Smaller>(mask, value);
}
template <class T>
T __reduce_max_sync(uint32_t mask, T value) {
  return sluice::cuda::emulation::reduce<T, sluice::cuda::emulation::Larger>(mask, value);
}
inline uint32_t __ballot_sync(uint32_t mask, int vote) {
  return sluice::cuda::emulation::reduce<uint32_t, std::bit_or<>>(
      mask, vote != 0 ? 1U << sluice::cuda::emulation::lane() : 0U);
}
inline int __any_sync(uint32_t mask, int vote) {
  return __ballot_sync(mask, vote) != 0 ? 1 : 0;
}
inline int __all_sync(uint32_t mask, int vote) {
  return __ballot_sync(mask, vote) == mask ? 1 : 0;
}

// ---- atomics: blocks run side by side ----

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).fetch_add(value);
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).exchange(value);
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> value) {
  std::atomic_ref<T> place(*p);
  T old = place.load();
  while (old < value && !place.compare_exchange_weak(old, value)) {
  }
  return old;
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> value) {
  std::atomic_ref<T> place(*p);
  T old = place.load();
  while (value < old && !place.compare_exchange_weak(old, value)) {
  }
  return old;
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).fetch_or(value);
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  std::atomic_ref<T>(*p).compare_exchange_strong(expected, value);
  return expected;
}

// ---- numbers ----

inline float __expf(float x) {
  return std::exp(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
// Never fused with what is done next.
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float rsqrtf(float x) {
  return 1.0F / std::sqrt(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
// Four signed bytes times four signed bytes, added to c.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
inline int min(int a, int b) {
  return a < b ? a : b;
}
inline int max(int a, int b) {
  return a > b ? a : b;
}
inline unsigned min(unsigned a, unsigned b) {
  return a < b ? a : b;
}
inline unsigned max(unsigned a, unsigned b) {
  return a > b ? a : b;
}
inline int64_t min(int64_t a, int64_t b) {
  return a < b ? a : b;
}
inline int64_t max(int64_t a, int64_t b) {
  return a > b ? a : b;
}
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
