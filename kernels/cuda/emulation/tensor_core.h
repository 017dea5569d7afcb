// The asynchronous copies and matrix instructions of kernels/cuda/gpu.h, emulated: layouts as in the PTX
// ISA's chapter "Matrix multiply-accumulate". A copy changes its destination at the wait that completes it,
// and until then there are not-a-numbers: a missing wait is a wrong result. Included by kernels/cuda/gpu.h
// alone.
#pragma once

#include <array>

#include "kernels/cuda/emulation/intrinsics.h"

namespace sluice::cuda {

inline float fast_exp2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126F ? 0 : y;
}

inline uint4 load_once(const void* from) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0)
    emulation::Block::current().fail("a load of 16 bytes from a misaligned address");
  return *static_cast<const uint4*>(from);
}

inline void copy_async_16(void* to, const void* from, bool valid) {
  using emulation::Block;
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0) Block::current().fail("cp.async to a misaligned address");
  if (valid && reinterpret_cast<uintptr_t>(from) % 16 != 0)
    Block::current().fail("cp.async from a misaligned address");
  std::memset(to, 0xff, 16);
  Block::current().thread().open_copies.push_back({to, from, 16, valid ? 16U : 0U});
}

inline void copy_async_commit() {
  emulation::Thread& thread = emulation::Block::current().thread();
  thread.copy_groups.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}

template <int kStillOpen>
void wait_for_copies_at(const emulation::NumberedSite& site) {
  if (emulation::is_left_out(site.number)) return;
  auto& groups = emulation::Block::current().thread().copy_groups;
  while (groups.size() > static_cast<size_t>(kStillOpen)) {
    for (const emulation::PendingCopy& copy : groups.front()) {
      std::memset(copy.to, 0, copy.bytes);
      if (copy.valid_bytes > 0) std::memcpy(copy.to, copy.from, copy.valid_bytes);
    }
    groups.erase(groups.begin());
  }
}
// All but the latest `still_open` committed groups of this thread's copies are there.
#define SLUICE_COPY_ASYNC_WAIT(still_open) \
  ::sluice::cuda::wait_for_copies_at<(still_open)>(SLUICE_EMULATED_SITE("wait for copies"))
// Likewise of all threads of this warp, and each may read what the others copied.
template <int kStillOpen>
void wait_for_copies_of_warp_at(const emulation::NumberedSite& site) {
  wait_for_copies_at<kStillOpen>(site);
  sync_warp_at(site, ~0U);
}
#define SLUICE_COPY_ASYNC_WAIT_WARP(still_open) \
  ::sluice::cuda::wait_for_copies_of_warp_at<(still_open)>(SLUICE_EMULATED_SITE("wait for a warp's copies"))

namespace emulation {

// Lane 8 i + r gives the address of row r of matrix i; lane t gets of each matrix row t / 4, columns
// 2 (t % 4) and the next; transposed: column t / 4, those rows.
template <int kMatrices, bool kTransposed>
void load_matrices(uint32_t (&out)[kMatrices], const void* row) {
  static const char operation = 0;
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) Block::current().fail("ldmatrix from a misaligned address");
  std::array<uint32_t, kMatrices> result{};
  Block::current().warp_operation(~0U, &operation, row, &result, [](Thread* const lanes[32], uint32_t) {
    const auto element = [&](int matrix, int r, int c) {
      return static_cast<uint32_t>(static_cast<const uint16_t*>(lanes[8 * matrix + r]->in)[c]);
    };
    for (int m = 0; m < kMatrices; ++m) {
      for (int t = 0; t < 32; ++t) {
        const int a = t / 4, b = 2 * (t % 4);
        const uint32_t low = kTransposed ? element(m, b, a) : element(m, a, b);
        const uint32_t high = kTransposed ? element(m, b + 1, a) : element(m, a, b + 1);
        (*static_cast<std::array<uint32_t, kMatrices>*>(lanes[t]->out))[static_cast<size_t>(m)] =
            low | high << 16U;
      }
    }
  });
  std::memcpy(out, result.data(), sizeof out);
}

// d += a b with a [16, K] by rows, b [K, 8] by columns, d [16, 8] f32. `kPerRegister`: values in a register,
// read by Read(register, place). K = 8 * kPerRegister.
template <int kPerRegister, class Read>
void multiply_tiles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static const char operation = 0;
  constexpr int kDepth = 8 * kPerRegister, kHalf = kDepth / 2;
  struct Operands {
    uint32_t a[4], b[2];
    float d[4];
  };
  Operands in;
  std::memcpy(in.a, a, sizeof a);
  std::memcpy(in.b, b, sizeof b);
  std::memcpy(in.d, d, sizeof d);
  Block::current().warp_operation(~0U, &operation, &in, &in, [](Thread* const lanes[32], uint32_t) {
    float left[16][kDepth], right[kDepth][8];
    const Read read;
    for (int t = 0; t < 32; ++t) {
      const auto* own = static_cast<const Operands*>(lanes[t]->in);
      const int group = t / 4, place = kPerRegister * (t % 4);
      for (int e = 0; e < kPerRegister; ++e) {
        left[group][place + e] = read(own->a[0], e);
        left[group + 8][place + e] = read(own->a[1], e);
        left[group][place + kHalf + e] = read(own->a[2], e);
        left[group + 8][place + kHalf + e] = read(own->a[3], e);
        right[place + e][group] = read(own->b[0], e);
        right[place + kHalf + e][group] = read(own->b[1], e);
      }
    }
    for (int t = 0; t < 32; ++t) {
      auto* own = static_cast<Operands*>(lanes[t]->out);
      for (int i = 0; i < 4; ++i) {
        const int row = t / 4 + 8 * (i / 2), column = 2 * (t % 4) + i % 2;
        for (int k = 0; k < kDepth; ++k) own->d[i] += left[row][k] * right[k][column];
      }
    }
  });
  std::memcpy(d, in.d, sizeof d);
}

struct ReadBf16 {
  float operator()(uint32_t pair, int place) const {
    return std::bit_cast<float>(place == 0 ? pair << 16U : pair & 0xffff0000U);
  }
};
struct ReadF16 {
  float operator()(uint32_t pair, int place) const {
    return f16_to_f32(static_cast<uint16_t>(pair >> (16 * place)));
  }
};

}  // namespace emulation

inline void load_matrix_x4(uint32_t (&out)[4], const void* row) {
  emulation::load_matrices<4, false>(out, row);
}
inline void load_matrix_x2(uint32_t (&out)[2], const void* row) {
  emulation::load_matrices<2, false>(out, row);
}
inline void load_matrix_x4_transposed(uint32_t (&out)[4], const void* row) {
  emulation::load_matrices<4, true>(out, row);
}
inline void load_matrix_x2_transposed(uint32_t (&out)[2], const void* row) {
  emulation::load_matrices<2, true>(out, row);
}
inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::multiply_tiles<2, emulation::ReadBf16>(d, a, b);
}
inline void multiply_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::multiply_tiles<2, emulation::ReadF16>(d, a, b);
}

}  // namespace sluice::cuda
