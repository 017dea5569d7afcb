#include "engine/options.h"

#include "engine/sentence.h"

namespace sluice {
namespace {

// Far beyond any machine; keeps sums of two options within an int.
constexpr int kMaxTokens = 1 << 28;
constexpr int kMaxSequences = 1 << 16;
constexpr int kMaxQueued = 1 << 24;

Status within(const char* flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(flag, sentence(flag, " is ", value, "; it must be from ", low, " to ", high, "."));
}

}  // namespace

Status check(const EngineOptions& o) {
  SLUICE_TRY(within("--max-model-len", o.max_model_len, 0, kMaxTokens));
  SLUICE_TRY(within("--max-num-seqs", o.max_num_seqs, 1, kMaxSequences));
  SLUICE_TRY(within("--max-num-batched-tokens", o.max_num_batched_tokens, 1, kMaxTokens));
  SLUICE_TRY(within("--max-num-queued-reqs", o.max_num_queued_reqs, 0, kMaxQueued));
  SLUICE_TRY(within("--max-num-queued-tokens", o.max_num_queued_tokens, 0, INT64_MAX));
  SLUICE_TRY(within("--target-decode-latency-ms", o.target_decode_latency_ms, 0, 3600 * 1000));
  SLUICE_TRY(within("--max-head-bypass", o.max_head_bypass, 0, kMaxQueued));
  SLUICE_TRY(within("--priority-aging-ms", o.priority_aging_ms, 0, 24 * 3600 * 1000));
  if (o.block_size < 16 || o.block_size > 1024 || o.block_size % 16 != 0) {
    return invalid_argument("--block-size", sentence("--block-size is ", o.block_size,
                                                     "; it must be a multiple of 16, at most 1024."));
  }
  if (o.max_num_batched_tokens < o.max_num_seqs) {
    return invalid_argument("--max-num-batched-tokens",
                            sentence("--max-num-batched-tokens (", o.max_num_batched_tokens,
                                     ") must be at least --max-num-seqs (", o.max_num_seqs,
                                     "), so that every running sequence gets its token in each step. Raise "
                                     "the one or lower the other."));
  }
  if (!(o.gpu_memory_utilization > 0 && o.gpu_memory_utilization <= 1)) {
    return invalid_argument("--gpu-memory-utilization",
                            "--gpu-memory-utilization must be above 0 and at most 1.");
  }
  if (o.scheduling_policy != "fcfs" && o.scheduling_policy != "priority") {
    return invalid_argument("--scheduling-policy", "--scheduling-policy must be fcfs or priority.");
  }
  if (o.priority_aging_ms > 0 && o.scheduling_policy != "priority") {
    return invalid_argument("--priority-aging-ms", "--priority-aging-ms needs --scheduling-policy priority.");
  }
  return {};
}

}  // namespace sluice
