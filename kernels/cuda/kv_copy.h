// Launchers that move whole blocks of the paged KV cache, of all layers at once: within the cache, and
// between it and a contiguous staging buffer, for what is swapped out and in. A block is the same in every
// plane (the keys or the values of a layer: kernels/paged_kv.h), block_bytes() of its layout, a multiple
// of 16. Bound by memory: each byte is read once and written once, by 16-byte accesses.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"

namespace sluice::cuda {

struct KvPlanes {
  std::byte* const* planes = nullptr;  // [count] on the device: where block 0 lies
  int count = 0;                       // two a layer
  int64_t block_bytes = 0;
};

struct BlockPair {
  int32_t from = 0, to = 0;
};

// pairs [count] on the device. A block may be `from` in several pairs; a `to` is in no other pair at all.
void copy_kv_blocks(const KvPlanes& cache, const BlockPair* pairs, int count, Stream stream);

// staging [count][planes][block_bytes]; blocks [count] on the device.
inline int64_t staged_block_bytes(const KvPlanes& cache) {
  return cache.block_bytes * cache.count;
}
void gather_kv_blocks(const KvPlanes& cache, const int32_t* blocks, int count, std::byte* staging,
                      Stream stream);
void scatter_kv_blocks(const KvPlanes& cache, const int32_t* blocks, int count, const std::byte* staging,
                       Stream stream);

}  // namespace sluice::cuda
