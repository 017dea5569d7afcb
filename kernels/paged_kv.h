// The layout of the paged KV cache: the one place for all devices. Owns no memory, counts no references.
//
// A layer has two arrays of N blocks, keys and values. A block holds B tokens; within a block the K kv heads
// follow one another, each a "page":
//   key page    [D / P][B][P]   P = 4 / bytes per element values side by side, so that one 32-bit lane of
//   value page  [B / P][D][P]   a SIMD register holds what one dot-product instruction consumes
//                               (f32: 1, f16 and bf16: 2, int8: 4)
// Keys lie with tokens in the fast direction (a dot product yields B scores at once), values with D in the
// fast direction (a weighted sum yields D outputs at once). That is KvOrder::kPacked, for SIMD registers.
// GPUs take whole rows to their matrix units, KvOrder::kRows:
//   key page    [B][D]
//   value page  [B][D]; of one-byte types [B / 2][D][2], so that two tokens' values fill a 16-bit load
// With one-byte types each page is followed by B f32 scales, one per token: value = element * scale.
// A token's slot is block id * B + its place within the block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace sluice {

enum class KvOrder : uint8_t { kPacked, kRows };

struct KvLayout {
  int block_tokens = 16;  // B; a multiple of 16
  int kv_heads = 0;       // K
  int head_size = 0;      // D; a multiple of 4
  DType dtype = DType::kBF16;
  KvOrder order = KvOrder::kPacked;

  bool has_scales() const { return bytes_of(dtype) == 1; }
  int packed() const { return 4 / static_cast<int>(bytes_of(dtype)); }
  size_t page_bytes() const {
    const size_t elements = static_cast<size_t>(block_tokens) * head_size * bytes_of(dtype);
    return elements + (has_scales() ? sizeof(float) * block_tokens : 0);
  }
  size_t block_bytes() const { return page_bytes() * kv_heads; }  // of keys; the same again for values

  // Element offsets within a page.
  size_t key_offset(int token_in_block, int d) const {
    if (order == KvOrder::kRows) return static_cast<size_t>(token_in_block) * head_size + d;
    const int p = packed();
    return (static_cast<size_t>(d / p) * block_tokens + token_in_block) * p + d % p;
  }
  size_t value_offset(int token_in_block, int d) const {
    const int p = order == KvOrder::kPacked ? packed() : has_scales() ? 2 : 1;
    return (static_cast<size_t>(token_in_block / p) * head_size + d) * p + token_in_block % p;
  }
};

// One layer's keys and values. The memory was zeroed once at allocation; stale content is always finite.
struct KvView {
  KvLayout layout;
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  int64_t block_count = 0;  // N

  std::byte* key_page(int64_t block, int kv_head) const {
    return keys + block * static_cast<int64_t>(layout.block_bytes()) +
           kv_head * static_cast<int64_t>(layout.page_bytes());
  }
  std::byte* value_page(int64_t block, int kv_head) const {
    return values + block * static_cast<int64_t>(layout.block_bytes()) +
           kv_head * static_cast<int64_t>(layout.page_bytes());
  }
  // One-byte types only: the scales behind a page, [B].
  static float* scales(std::byte* page, const KvLayout& layout) {
    return reinterpret_cast<float*>(page + static_cast<size_t>(layout.block_tokens) * layout.head_size);
  }
};

}  // namespace sluice
