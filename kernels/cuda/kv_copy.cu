// Copies of KV blocks. A block of 256 threads moves up to 16 KiB of one cache block of one plane: each thread
// has four loads of 16 bytes under way before it stores. Grid (pieces of a block, planes, cache blocks).
// Bytes: twice block_bytes for each cache block and plane.
#include "kernels/cuda/kv_copy.h"

#include <algorithm>

#include "kernels/cuda/gpu.h"

namespace sluice::cuda {
namespace {

constexpr int kCopyThreads = 256;
constexpr int kLoads = 4;
constexpr int64_t kChunk = 16;  // bytes of an access
constexpr int64_t kPiece = kCopyThreads * kLoads * kChunk;
constexpr int kMostBlocks = 65535;  // of a launch, in its z direction

__device__ __forceinline__ void copy_piece(std::byte* to, const std::byte* from, int64_t bytes) {
  const int64_t first = (blockIdx.x * kLoads * kCopyThreads + threadIdx.x) * kChunk;
  uint4 chunks[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int64_t at = first + i * kCopyThreads * kChunk;
    if (at < bytes) chunks[i] = *reinterpret_cast<const uint4*>(from + at);
  }
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int64_t at = first + i * kCopyThreads * kChunk;
    if (at < bytes) *reinterpret_cast<uint4*>(to + at) = chunks[i];
  }
}

__global__ void __launch_bounds__(kCopyThreads) copy_kv_kernel(KvPlanes cache, const BlockPair* pairs) {
  const BlockPair pair = pairs[blockIdx.z];
  std::byte* const plane = cache.planes[blockIdx.y];
  copy_piece(plane + pair.to * cache.block_bytes, plane + pair.from * cache.block_bytes, cache.block_bytes);
}

__global__ void __launch_bounds__(kCopyThreads)
    gather_kv_kernel(KvPlanes cache, const int32_t* blocks, std::byte* staging) {
  const int64_t staged = static_cast<int64_t>(blockIdx.z) * cache.count + blockIdx.y;
  copy_piece(staging + staged * cache.block_bytes,
             cache.planes[blockIdx.y] + blocks[blockIdx.z] * cache.block_bytes, cache.block_bytes);
}

__global__ void __launch_bounds__(kCopyThreads)
    scatter_kv_kernel(KvPlanes cache, const int32_t* blocks, const std::byte* staging) {
  const int64_t staged = static_cast<int64_t>(blockIdx.z) * cache.count + blockIdx.y;
  copy_piece(cache.planes[blockIdx.y] + blocks[blockIdx.z] * cache.block_bytes,
             staging + staged * cache.block_bytes, cache.block_bytes);
}

// Calls `go(grid, first)` for as many launches as the blocks take: one, as a rule.
template <class Go>
void in_launches(const KvPlanes& cache, int count, Stream stream, const Go& go) {
  const auto pieces = static_cast<unsigned>((cache.block_bytes + kPiece - 1) / kPiece);
  for (int first = 0; first < count; first += kMostBlocks) {
    const auto blocks = static_cast<unsigned>(std::min(kMostBlocks, count - first));
    go(Grid{dim3(pieces, static_cast<unsigned>(cache.count), blocks), dim3(kCopyThreads), 0, stream}, first);
  }
}

}  // namespace

void copy_kv_blocks(const KvPlanes& cache, const BlockPair* pairs, int count, Stream stream) {
  in_launches(cache, count, stream,
              [&](const Grid& grid, int first) { launch(copy_kv_kernel, grid, cache, pairs + first); });
}

void gather_kv_blocks(const KvPlanes& cache, const int32_t* blocks, int count, std::byte* staging,
                      Stream stream) {
  in_launches(cache, count, stream, [&](const Grid& grid, int first) {
    launch(gather_kv_kernel, grid, cache, blocks + first, staging + first * staged_block_bytes(cache));
  });
}

void scatter_kv_blocks(const KvPlanes& cache, const int32_t* blocks, int count, const std::byte* staging,
                       Stream stream) {
  in_launches(cache, count, stream, [&](const Grid& grid, int first) {
    launch(scatter_kv_kernel, grid, cache, blocks + first, staging + first * staged_block_bytes(cache));
  });
}

}  // namespace sluice::cuda
