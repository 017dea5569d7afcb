// Who decodes, who prefills, and in which pieces. Host only.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "kernels/cuda/attention.h"

namespace sluice::cuda {
namespace {

constexpr int kSplitUnit = 64;       // a slice of 16 keys for each of a block's four warps
constexpr int kShortestSplit = 128;  // below, merging costs more than it saves
constexpr int kMostSplits = std::numeric_limits<int16_t>::max();
constexpr int kDecodeRows = 16;    // of a matrix instruction
constexpr int kBlocksForEach = 2;  // multiprocessor

int group_of(const AttentionShape& shape) {
  return shape.query_heads / shape.kv_heads;
}

int decode_tokens(const AttentionShape& shape, const PlanOptions& options) {
  return options.deterministic ? 0 : kDecodeRows / group_of(shape);
}

// The first key that a token at `position` sees.
int first_visible(int position, const AttentionShape& shape) {
  return shape.sliding_window > 0 ? std::max(0, position - shape.sliding_window + 1) : 0;
}

int rounded_up(int64_t value, int unit) {
  return static_cast<int>((value + unit - 1) / unit) * unit;
}

struct Sequence {
  int id, first_token, tokens, context;
  int first_key;  // that any of its new tokens sees
};

void add_decode(const Sequence& sequence, int64_t total_keys, const AttentionShape& shape,
                const PlanOptions& options, AttentionPlan& plan) {
  const int keys = sequence.context - sequence.first_key;
  const int fair = split_keys(total_keys, shape.kv_heads, options);
  const int shares = std::clamp((keys + fair / 2) / fair, 1, kMostSplits);
  const int begin = sequence.first_key / kSplitUnit * kSplitUnit;
  const int length = rounded_up((sequence.context - begin + shares - 1) / shares, kSplitUnit);
  const int splits = (sequence.context - begin + length - 1) / length;
  SLUICE_CHECK_LE(splits, kMostSplits);
  const int rows = sequence.tokens * group_of(shape);
  SLUICE_CHECK_LE(plan.partial_rows, std::numeric_limits<int32_t>::max());
  DecodeWork work{.sequence = sequence.id,
                  .first_token = sequence.first_token,
                  .context = sequence.context,
                  .partial_row = static_cast<int32_t>(plan.partial_rows),
                  .tokens = static_cast<int16_t>(sequence.tokens),
                  .splits = static_cast<int16_t>(splits)};
  for (int s = 0; s < splits; ++s) {
    work.split = static_cast<int16_t>(s);
    work.first_key = std::max(begin + s * length, sequence.first_key / 16 * 16);
    work.end_key = std::min(begin + (s + 1) * length, sequence.context);
    plan.decode.push_back(work);
  }
  if (splits > 1) plan.partial_rows += int64_t{splits} * shape.kv_heads * rows;
}

void add_prefill(const Sequence& sequence, const AttentionShape& shape, AttentionPlan& plan) {
  const int tile = prefill_tile_rows(shape.head_size);
  for (int row = 0; row < sequence.tokens * group_of(shape); row += tile) {
    plan.prefill.push_back({.sequence = sequence.id,
                            .first_token = sequence.first_token,
                            .context = sequence.context,
                            .tokens = sequence.tokens,
                            .first_row = row});
  }
}

}  // namespace

int split_keys(int64_t total_keys, int kv_heads, const PlanOptions& options) {
  const int64_t blocks = int64_t{kBlocksForEach} * options.multiprocessors;
  const int64_t fair = std::min((total_keys * kv_heads + blocks - 1) / blocks,
                                int64_t{std::numeric_limits<int32_t>::max() - kSplitUnit});
  return std::max(kShortestSplit, rounded_up(fair, kSplitUnit));
}

void plan_attention(std::span<const int32_t> query_start, std::span<const int32_t> context_lengths,
                    const AttentionShape& shape, const PlanOptions& options, AttentionPlan& plan) {
  plan.decode.clear();
  plan.prefill.clear();
  plan.partial_rows = 0;
  const auto sequence_at = [&](size_t s) {
    const int tokens = query_start[s + 1] - query_start[s], context = context_lengths[s];
    return Sequence{static_cast<int>(s), query_start[s], tokens, context,
                    first_visible(context - tokens, shape)};
  };
  const int most_tokens = decode_tokens(shape, options);
  int64_t total_keys = 0;
  for (size_t s = 0; s < context_lengths.size(); ++s) {
    const Sequence sequence = sequence_at(s);
    if (sequence.tokens > 0 && sequence.tokens <= most_tokens)
      total_keys += sequence.context - sequence.first_key;
  }
  for (size_t s = 0; s < context_lengths.size(); ++s) {
    const Sequence sequence = sequence_at(s);
    if (sequence.tokens <= 0) continue;
    SLUICE_CHECK_LE(sequence.tokens, sequence.context);
    if (sequence.tokens <= most_tokens) {
      add_decode(sequence, total_keys, shape, options, plan);
    } else {
      add_prefill(sequence, shape, plan);
    }
  }
  // What takes long should not begin last.
  const auto keys_of = [&](const PrefillWork& work) {
    const int last =
        std::min(work.first_row + prefill_tile_rows(shape.head_size), work.tokens * group_of(shape)) - 1;
    const int before = work.context - work.tokens;
    return before + last / group_of(shape) - first_visible(before + work.first_row / group_of(shape), shape);
  };
  std::ranges::sort(plan.prefill, [&](const PrefillWork& a, const PrefillWork& b) {
    const int keys_a = keys_of(a), keys_b = keys_of(b);
    if (keys_a != keys_b) return keys_a > keys_b;
    return a.sequence != b.sequence ? a.sequence < b.sequence : a.first_row < b.first_row;
  });
}

PlanLimits plan_limits(int sequences, int tokens, const AttentionShape& shape, const PlanOptions& options) {
  PlanLimits limits;
  const int group = group_of(shape), tile = prefill_tile_rows(shape.head_size);
  const int rows = group * decode_tokens(shape, options);
  if (!options.deterministic) {
    // A sequence of `keys` has at most keys / length + 1 / 2 splits, or one.
    const int64_t shares =
        (int64_t{kBlocksForEach} * options.multiprocessors + shape.kv_heads - 1) / shape.kv_heads;
    limits.decode_works = sequences + shares;
  }
  limits.prefill_works = std::min<int64_t>(sequences, tokens) + int64_t{tokens} * group / tile;
  limits.partial_rows = limits.decode_works * shape.kv_heads * rows;
  return limits;
}

}  // namespace sluice::cuda
