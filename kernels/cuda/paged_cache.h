// The KV cache of one layer as kernels take it (kernels/paged_kv.h, KvOrder::kRows).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace sluice::cuda {

struct PagedCache {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  DType dtype = DType::kBF16;
  int block_tokens = 16, kv_heads = 0, head_size = 0;
  int64_t page_bytes = 0;
};

}  // namespace sluice::cuda
