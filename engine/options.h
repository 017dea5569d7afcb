// Every knob of the engine, once. Parsed and checked by server/options, then passed by const reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "kernels/dtype.h"

namespace sluice {

struct EngineOptions {
  int max_model_len = 0;             // longest prompt + answer, tokens; 0: the model's own context length
  int max_num_seqs = 64;             // sequences that run at once
  int max_num_batched_tokens = 512;  // token budget of a step; prefill is cut into chunks of at most this
  int block_size = 16;               // B, tokens per KV block
  DType kv_cache_dtype = DType::kBF16;
  size_t kv_cache_memory_bytes = 0;      // 0: a share of free memory, at most max_num_seqs of max_model_len
  double gpu_memory_utilization = 0.92;  // of a GPU's memory, for weights, activations and the cache together
  bool enable_prefix_caching = true;
  bool async_scheduling = true;       // plan a step while the one before still runs, where the device can
  int max_num_queued_reqs = 1024;     // beyond the max_num_seqs that run; one more is refused with 429
  int64_t max_num_queued_tokens = 0;  // waiting prompt tokens; 0: no bound of its own
  int target_decode_latency_ms = 0;   // > 0: prefill chunks shrink so that steps with decodes stay near it
  int max_head_bypass = 64;           // how often smaller requests may pass a big one at the queue's head
  std::string scheduling_policy = "fcfs";  // fcfs or priority (lower first)
  int priority_aging_ms = 0;  // priority: so much waiting is worth a level; 0: none, a low one may starve
  uint64_t seed = 0;          // for requests without a seed of their own
};

// Whether each value is possible by itself and beside the others; the error names the flag and the fix.
Status check(const EngineOptions& options);

}  // namespace sluice
