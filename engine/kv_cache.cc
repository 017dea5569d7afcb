#include "engine/kv_cache.h"

#include <algorithm>
#include <iomanip>
#include <limits>

#include "engine/sentence.h"

namespace sluice {
namespace {

constexpr int64_t kBytesWhenUnknown = int64_t{1} << 30;
// Block ids are 32-bit, slots are block * B + place: far below where either overflows.
constexpr int64_t kMaxBlocks = int64_t{1} << 24;

KvLayout layout_of(const EngineOptions& options, const ModelConfig& model,
                   KvOrder order = KvOrder::kPacked) {  // which changes no size
  return {.block_tokens = options.block_size,
          .kv_heads = model.kv_heads,
          .head_size = model.head_size,
          .dtype = options.kv_cache_dtype,
          .order = order};
}

Status check_type(DType type, const Backend& backend) {
  std::string known;
  for (const DType one : backend.kv_types()) {
    if (one == type) return {};
    known += (known.empty() ? "" : ", ") + std::string(name_of(one));
  }
  return invalid_argument("--kv-cache-dtype",
                          sentence("--kv-cache-dtype ", name_of(type), " is not served on ",
                                   backend.facts().kind, "; there are ", known, "."));
}

std::string mebibytes(int64_t bytes) {
  return sentence(std::fixed, std::setprecision(bytes < 100 << 20 ? 1 : 0),
                  static_cast<double>(bytes) / (1 << 20), " MiB");
}

Error too_small(const EngineOptions& options, const KvCacheSize& size, int64_t blocks_needed,
                const CacheMemory& memory) {
  const int64_t fitting = size.block_count * options.block_size;
  const std::string given =
      options.kv_cache_memory_bytes > 0
          ? sentence("--kv-cache-memory-bytes gives ",
                     mebibytes(static_cast<int64_t>(options.kv_cache_memory_bytes)))
          : sentence(memory.words, " gives ", mebibytes(static_cast<int64_t>(memory.budget_bytes)));
  const std::string fix =
      fitting > 1 ? sentence("Set --max-model-len to at most ", fitting, ", or give it more memory.")
                  : std::string("Give it more memory.");
  return {ErrorCode::kOutOfMemory,
          sentence("The KV cache of one sequence of ", options.max_model_len, " tokens needs ",
                   mebibytes(blocks_needed * size.block_bytes), ", but ", given, ". ", fix),
          options.kv_cache_memory_bytes > 0 ? "--kv-cache-memory-bytes" : "--max-model-len"};
}

}  // namespace

CacheMemory cache_memory(const EngineOptions& options, const DeviceFacts& device, int ranks) {
  const size_t free = device.memory_free_bytes;
  if (device.kind != "cuda") {
    const size_t share = free / static_cast<size_t>(ranks);
    return {share, share / 2,
            ranks > 1 ? "a rank's part of half of the free memory" : "half of the free memory"};
  }
  const size_t used = device.memory_bytes - std::min(free, device.memory_bytes);
  const auto allowed =
      static_cast<size_t>(options.gpu_memory_utilization * static_cast<double>(device.memory_bytes));
  return {free, allowed > used ? allowed - used : 0,
          sentence("--gpu-memory-utilization ", options.gpu_memory_utilization, " beside the ",
                   mebibytes(static_cast<int64_t>(used)), " in use")};
}

Result<KvCacheSize> size_kv_cache(const EngineOptions& options, const ModelConfig& model,
                                  const CacheMemory& memory) {
  KvCacheSize size;
  size.block_bytes = static_cast<int64_t>(layout_of(options, model).block_bytes()) * 2 * model.layers;
  const auto free =
      static_cast<int64_t>(std::min<size_t>(memory.free_bytes, std::numeric_limits<int64_t>::max()));
  const int64_t per_sequence = (options.max_model_len + options.block_size - 1) / options.block_size;
  const int64_t useful = per_sequence * options.max_num_seqs;

  if (options.kv_cache_memory_bytes > 0) {
    const auto asked = static_cast<int64_t>(
        std::min<size_t>(options.kv_cache_memory_bytes, std::numeric_limits<int64_t>::max()));
    if (free > 0 && asked > free) {
      return Error{ErrorCode::kOutOfMemory,
                   sentence("--kv-cache-memory-bytes asks for ", mebibytes(asked), ", but only ",
                            mebibytes(free), " are free. Lower it, or free some memory."),
                   "--kv-cache-memory-bytes"};
    }
    size.block_count = asked / size.block_bytes;
  } else if (free > 0) {
    size.block_count = std::min(useful, static_cast<int64_t>(memory.budget_bytes) / size.block_bytes);
  } else {
    size.block_count = std::min(useful, std::max(per_sequence, kBytesWhenUnknown / size.block_bytes));
  }
  size.block_count = std::min(size.block_count, kMaxBlocks);
  if (size.block_count < per_sequence) return too_small(options, size, per_sequence, memory);
  return size;
}

Result<KvCacheSize> KvCache::fitting(const EngineOptions& options, const ModelConfig& model,
                                     const Backend& backend) {
  SLUICE_TRY(check_type(options.kv_cache_dtype, backend));
  return size_kv_cache(options, model, cache_memory(options, backend.facts(), backend.rank().count));
}

Result<std::unique_ptr<KvCache>> KvCache::make(const EngineOptions& options, const ModelConfig& model,
                                               Backend& backend, int64_t block_count) {
  std::unique_ptr<KvCache> cache(new KvCache);
  SLUICE_ASSIGN(cache->size_, fitting(options, model, backend));
  if (block_count > 0) cache->size_.block_count = block_count;
  const KvLayout layout = layout_of(options, model, backend.kv_order());
  const size_t half = layout.block_bytes() * static_cast<size_t>(cache->size_.block_count);
  for (int layer = 0; layer < model.layers; ++layer) {
    auto memory = backend.allocate(2 * half);
    if (!memory.ok()) {
      return Error{ErrorCode::kOutOfMemory,
                   sentence("The KV cache of ", mebibytes(cache->size_.bytes()),
                            " does not fit: ", memory.error().message,
                            " Lower --kv-cache-memory-bytes, --max-num-seqs or --max-model-len."),
                   "--kv-cache-memory-bytes"};
    }
    cache->memory_.push_back(std::move(memory).value());
    std::byte* keys = cache->memory_.back()->data();
    cache->layers_.push_back({layout, keys, keys + half, cache->size_.block_count});
  }
  return cache;
}

}  // namespace sluice
