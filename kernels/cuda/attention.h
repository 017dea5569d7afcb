// Attention over the paged cache: out[t] = softmax(scale * q[t] . K) V over the token's own context, causal.
// Two kernels share a step. Sequences with few new tokens are decoded: bound by memory, each key and value of
// the cache is read once, 2 D numbers a token and kv head. The others are prefilled in tiles of query rows:
// bound by arithmetic, 4 H D flops a pair of query and key.
//
// Lists of work say who does what; the host plans them once a step (attention_plan.cc), all layers use
// them, and they lie in device memory. Blocks without work end at once, and a decoding block takes every n-th
// work: so a CUDA graph with a fixed grid serves steps of any lengths.
//
// D is 64, 80, 96, 128 or 256; H / K from 1 to 8; blocks of a multiple of 16 tokens; rows of qkv, and of out,
// aligned to 16 bytes. Whoever calls has checked. No table entry is read but those of the blocks that hold
// keys a query sees.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/paged_cache.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

struct bf16;

// The keys [first_key, end_key) for all query rows of a sequence: one split of its context.
struct alignas(16) DecodeWork {
  int32_t sequence = 0;
  int32_t first_token = 0;  // the sequence's first row of qkv
  int32_t context = 0;      // keys of the sequence, its new tokens among them
  int32_t first_key = 0;    // a multiple of 16
  int32_t end_key = 0;      // likewise, or the context
  int32_t partial_row = 0;  // of the sequence's first result in DecodeRoom, where there are several splits
  int16_t tokens = 0;       // new tokens; tokens * H / K <= 16
  int16_t split = 0, splits = 1;
  int16_t unused = 0;
};

// One tile of a sequence's query rows (token * H / K + head of the group), all its keys.
struct alignas(16) PrefillWork {
  int32_t sequence = 0;
  int32_t first_token = 0;
  int32_t context = 0;
  int32_t tokens = 0;
  int32_t first_row = 0;
  int32_t unused[3] = {};
};

// The rows of a prefill tile.
constexpr int prefill_tile_rows(int head_size) {
  return head_size > 128 ? 64 : 128;
}

// ---- the plan, on the host ----

struct PlanOptions {
  int multiprocessors = 1;
  // A token's bits depend on its own context alone, never on the other sequences nor on how its prompt was
  // cut: everything is prefilled, in tiles of keys at fixed positions, also what could be decoded faster.
  // Else splits are chosen so that two blocks for each multiprocessor have about the same to read.
  bool deterministic = false;
};

struct AttentionPlan {
  std::vector<DecodeWork> decode;
  std::vector<PrefillWork> prefill;  // the longest first
  int64_t partial_rows = 0;          // of DecodeRoom
};

// How many keys a split should have. `total_keys`: of all decoded sequences.
int split_keys(int64_t total_keys, int kv_heads, const PlanOptions& options);

// Fills `plan`, whose memory is used again. Sequences without tokens are passed over.
void plan_attention(std::span<const int32_t> query_start, std::span<const int32_t> context_lengths,
                    const AttentionShape& shape, const PlanOptions& options, AttentionPlan& plan);

// What no plan exceeds for up to `sequences` of any length, `tokens` in a step: to allocate once.
struct PlanLimits {
  int64_t decode_works = 0, prefill_works = 0, partial_rows = 0;
};
PlanLimits plan_limits(int sequences, int tokens, const AttentionShape& shape, const PlanOptions& options);

// ---- the kernels ----

struct AttentionArrays {
  const bf16* qkv = nullptr;  // [T, (H + 2K) * D], rows `qkv_stride` elements apart
  int64_t qkv_stride = 0;
  bf16* out = nullptr;  // [T, H * D]
  int64_t out_stride = 0;
  const int32_t* block_table = nullptr;  // [S, block_table_stride]
  int64_t block_table_stride = 0;
  PagedCache cache;
};

// On the device; `works` readable up to `*count`.
struct DecodeList {
  const DecodeWork* works = nullptr;
  const int32_t* count = nullptr;
  int blocks = 1;  // for each kv head; as many as there are works is best
};
struct PrefillList {
  const PrefillWork* works = nullptr;
  const int32_t* count = nullptr;
  int blocks = 1;  // for each kv head; as many as there are works at least
};

// Where splits meet. The counters are zero before a launch and after it.
struct DecodeRoom {
  float* sums = nullptr;        // [partial_rows, D]
  float* peaks = nullptr;       // [partial_rows, 2]
  int32_t* counters = nullptr;  // [S, K]
};

void attention_decode(const AttentionArrays& arrays, const AttentionShape& shape, const DecodeList& list,
                      const DecodeRoom& room, Stream stream);
void attention_prefill(const AttentionArrays& arrays, const AttentionShape& shape, const PrefillList& list,
                       Stream stream);

}  // namespace sluice::cuda
