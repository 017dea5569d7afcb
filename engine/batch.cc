#include "engine/batch.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace sluice {

Batch::Batch(const BatchLimits& limits)
    : limits_(limits),
      table_stride_(
          static_cast<size_t>((limits.max_model_len + limits.block_tokens - 1) / limits.block_tokens)),
      block_table_(
          std::make_unique_for_overwrite<int32_t[]>(table_stride_ * static_cast<size_t>(limits.sequences))),
      rows_(static_cast<size_t>(limits.sequences)) {
  const auto tokens = static_cast<size_t>(limits.tokens);
  const auto sequences = static_cast<size_t>(limits.sequences);
  for (auto* per_token : {&token_ids_, &positions_}) per_token->reserve(tokens);
  slots_.reserve(tokens);
  query_start_.reserve(sequences + 1);
  for (auto* per_sequence : {&context_lengths_, &sample_rows_}) per_sequence->reserve(sequences);
  sampling_.reserve(sequences);
  sampled_.reserve(sequences);
}

const StepBatch& Batch::build(const Plan& plan) {
  SLUICE_CHECK_LE(plan.tokens, limits_.tokens);
  SLUICE_CHECK_LE(plan.items.size(), rows_.size());
  for (auto* array :
       {&token_ids_, &positions_, &query_start_, &context_lengths_, &sample_rows_, &hidden_rows_})
    array->clear();
  slots_.clear();
  sampled_.clear();
  pooled_.clear();

  query_start_.push_back(0);
  for (size_t i = 0; i < plan.items.size(); ++i) {
    const PlanItem& item = plan.items[i];
    append_tokens(item);
    fill_table_row(i, *item.sequence);
    if (item.sequence->request.pooling != Pooling::kNone) {
      append_pooled(item);
    } else {
      append_scored(item);
      if (!item.samples) continue;
      item.sequence->pending_row = static_cast<int32_t>(sample_rows_.size());
      sample_rows_.push_back(static_cast<int32_t>(token_ids_.size()) - 1);
      sampled_.push_back({.sequence = item.sequence});
    }
  }
  batch_ = {.token_ids = token_ids_,
            .positions = positions_,
            .slots = slots_,
            .query_start = query_start_,
            .context_lengths = context_lengths_,
            .block_table = {block_table_.get(), table_stride_ * plan.items.size()},
            .block_table_stride = static_cast<int64_t>(table_stride_),
            .sample_rows = sample_rows_,
            .hidden_rows = hidden_rows_};
  return batch_;
}

std::span<const SamplingRow> Batch::sampling() {
  sampling_.clear();
  for (const Sampled& row : sampled_) {
    if (row.sequence == nullptr)
      sampling_.push_back({.temperature = 0});
    else if (row.given >= 0)
      sampling_.push_back({.logprobs = row.sequence->request.sampling.prompt_logprobs, .given = row.given});
    else
      sampling_.push_back(sampling_of(*row.sequence));
  }
  return sampling_;
}

void Batch::drop(const Sequence& sequence) {
  for (Sampled& row : sampled_) {
    if (row.sequence == &sequence) row.sequence = nullptr;
  }
  for (Pooled& rows : pooled_) {
    if (rows.sequence == &sequence) rows.sequence = nullptr;
  }
}

void Batch::append_tokens(const PlanItem& item) {
  const Sequence& s = *item.sequence;
  SLUICE_CHECK_LE(item.first + item.count, s.length() + s.pending);
  for (int32_t position = item.first; position < item.first + item.count; ++position) {
    const int32_t block = s.blocks[static_cast<size_t>(position / limits_.block_tokens)];
    token_ids_.push_back(position < s.length() ? s.tokens[static_cast<size_t>(position)] : ~s.pending_row);
    positions_.push_back(position);
    slots_.push_back(int64_t{block} * limits_.block_tokens + position % limits_.block_tokens);
  }
  query_start_.push_back(static_cast<int32_t>(token_ids_.size()));
  context_lengths_.push_back(item.first + item.count);
}

void Batch::append_pooled(const PlanItem& item) {
  const auto end = static_cast<int32_t>(token_ids_.size());
  const bool all = item.sequence->request.pooling == Pooling::kMean;
  const int32_t rows = all ? item.count : item.samples ? 1 : 0;
  if (rows == 0) return;
  for (int32_t row = end - rows; row < end; ++row) hidden_rows_.push_back(row);
  pooled_.push_back({item.sequence, item.first + item.count - rows, rows, item.samples});
}

void Batch::fill_table_row(size_t row, const Sequence& s) {
  SLUICE_CHECK_LE(s.blocks.size(), table_stride_);
  Row& held = rows_[row];
  if (held.id != s.id || held.version != s.blocks_version) held = {.id = s.id, .version = s.blocks_version};
  std::copy(s.blocks.begin() + static_cast<int64_t>(held.blocks), s.blocks.end(),
            block_table_.get() + row * table_stride_ + held.blocks);
  held.blocks = s.blocks.size();
}

// The tokens that would complete one of them.
void Batch::ban_bad_tokens(Sequence& s) {
  s.banned.clear();
  const auto output = s.output();
  for (const std::vector<int32_t>& bad : s.request.sampling.bad_tokens) {
    const std::span<const int32_t> before = std::span(bad).first(bad.size() - 1);
    if (before.size() <= output.size() && std::ranges::equal(before, output.last(before.size())))
      s.banned.push_back(bad.back());
  }
}

void Batch::append_scored(const PlanItem& item) {
  const Sequence& s = *item.sequence;
  const int32_t first_row = static_cast<int32_t>(token_ids_.size()) - item.count;
  for (int32_t i = item.scored_first; i < item.scored_first + item.scored; ++i) {
    sample_rows_.push_back(first_row + i - item.first);
    sampled_.push_back({.sequence = item.sequence, .given = s.tokens[static_cast<size_t>(i) + 1]});
  }
}

SamplingRow Batch::sampling_of(Sequence& s) {
  const SamplingParams& p = s.request.sampling;
  SamplingRow row{.temperature = p.temperature,
                  .top_k = p.top_k,
                  .top_p = p.top_p,
                  .min_p = p.min_p,
                  .repetition_penalty = p.repetition_penalty,
                  .presence_penalty = p.presence_penalty,
                  .frequency_penalty = p.frequency_penalty,
                  .seed = p.seed,
                  .draw_index = static_cast<uint64_t>(s.generated()),
                  .logprobs = p.logprobs,
                  .logit_bias = p.logit_bias};
  if (p.repetition_penalty != 1.0F) row.prompt_tokens = s.prompt();
  if (p.repetition_penalty != 1.0F || p.presence_penalty != 0 || p.frequency_penalty != 0) {
    row.output_tokens = s.output();
  }
  row.allowed_mask = s.allowed_mask;
  // Where a constraint ends, it ends: before min_tokens too.
  const bool hold = s.request.constraint == nullptr && s.generated() < p.min_tokens;
  if (!p.bad_tokens.empty()) {
    ban_bad_tokens(s);
    if (hold)
      s.banned.insert(s.banned.end(), s.banned_until_min_tokens.begin(), s.banned_until_min_tokens.end());
    row.banned_tokens = s.banned;
  } else if (hold) {
    row.banned_tokens = s.banned_until_min_tokens;
  }
  return row;
}

}  // namespace sluice
