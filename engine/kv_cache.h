// Owns the device bytes of the keys and values of all layers. Counts no references and knows no sequence:
// which block belongs to whom is BlockPool's. Made once at start; engine thread afterwards.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/options.h"
#include "kernels/backend.h"
#include "models/model_config.h"

namespace sluice {

// How many blocks, told from numbers alone.
struct KvCacheSize {
  int64_t block_count = 0;  // N
  int64_t block_bytes = 0;  // of one block: keys and values of all layers

  int64_t bytes() const { return block_count * block_bytes; }
};

// What there is for a cache, of which so much may be taken when nobody says how much.
struct CacheMemory {
  size_t free_bytes = 0;  // 0: the device cannot tell
  size_t budget_bytes = 0;
  std::string words;  // whose budget it is: "half of the free memory"
};
// Hosts give half of what is free, divided among the `ranks` that live there; GPUs what
// --gpu-memory-utilization leaves.
CacheMemory cache_memory(const EngineOptions& options, const DeviceFacts& device, int ranks = 1);

// `options.max_model_len` is filled in. With kv_cache_memory_bytes 0: the budget, but never more than
// max_num_seqs sequences of max_model_len need; when the device cannot tell, 1 GiB or one sequence.
// kOutOfMemory when not even one sequence of max_model_len fits, with the length that would.
Result<KvCacheSize> size_kv_cache(const EngineOptions& options, const ModelConfig& model,
                                  const CacheMemory& memory);

class KvCache {
 public:
  // What `make` would make of this backend's memory as it is now.
  static Result<KvCacheSize> fitting(const EngineOptions& options, const ModelConfig& model,
                                     const Backend& backend);
  // `model`: with the heads of the backend's rank. `block_count` 0: as many as are fitting; else what the
  // ranks agreed upon.
  static Result<std::unique_ptr<KvCache>> make(const EngineOptions& options, const ModelConfig& model,
                                               Backend& backend, int64_t block_count = 0);

  std::span<const KvView> layers() const { return layers_; }
  const KvCacheSize& size() const { return size_; }

 private:
  KvCache() = default;
  KvCacheSize size_;
  std::vector<std::unique_ptr<Buffer>> memory_;  // one per layer: its keys, then its values
  std::vector<KvView> layers_;
};

}  // namespace sluice
