#include "kernels/cuda/step_stage.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "kernels/cuda/pointwise.h"

namespace sluice::cuda {
namespace {

constexpr int64_t kShortestTable = 16;  // entries of a row
constexpr int64_t kBlockTokens = 16;    // the least a block holds
constexpr int64_t kMostRows = 512;      // of a padded batch

template <class T>
size_t room(size_t count) {
  return StepArrays::room_for<T>(count);
}

// Entries of a row of the staged block table: the next power of two.
int64_t table_stride(const StepBatch& batch) {
  const int32_t longest = batch.context_lengths.empty() ? 1 : std::ranges::max(batch.context_lengths);
  const auto needed = static_cast<uint64_t>((longest + kBlockTokens - 1) / kBlockTokens);
  return std::min(batch.block_table_stride,
                  std::max(kShortestTable, static_cast<int64_t>(std::bit_ceil(needed))));
}

}  // namespace

bool decodes_only(const StepBatch& batch) {
  return batch.tokens() == batch.sequences() && batch.hidden_rows.empty() &&
         batch.sample_rows.size() == batch.context_lengths.size();
}

int64_t padded_rows(int64_t sequences, int64_t most) {
  const int64_t unit = sequences > 256 ? 32 : 8;
  const int64_t padded = sequences > 8
                             ? (sequences + unit - 1) / unit * unit
                             : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(sequences)));
  const int64_t rows = std::min(padded, most);
  return sequences > 0 && sequences <= rows && rows <= kMostRows ? rows : 0;
}

const StepBatch& StepStage::stage(const StepBatch& batch, int64_t rows, const int32_t* latest_ids) {
  const auto tokens = static_cast<size_t>(std::max(batch.tokens(), rows));
  const auto sampled = std::max(batch.sample_rows.size(), static_cast<size_t>(rows));
  const auto sequences = static_cast<size_t>(std::max(batch.sequences(), rows));
  const auto stride = static_cast<size_t>(table_stride(batch));
  arrays_.begin(room<int32_t>(tokens) * 2 + room<int64_t>(tokens) + room<int32_t>(sampled) +
                    room<int32_t>(batch.hidden_rows.size()) + room<int32_t>(sequences * stride),
                stream_);
  // Behind what is there: `filling`, or for the rows to be sampled the row itself.
  const auto send = [&](auto values, size_t count, auto filling) {
    auto* const to = arrays_.reserve<std::remove_const_t<typename decltype(values)::element_type>>(count);
    std::ranges::copy(values, to);
    for (size_t i = values.size(); i < count; ++i) to[i] = filling(i);
    return std::span(arrays_.on_device(to), count);
  };
  const auto zero = [](size_t) { return 0; };
  staged_ = batch;
  const auto ids = send(batch.token_ids, tokens, zero);
  staged_.token_ids = ids;
  staged_.positions = send(batch.positions, tokens, zero);
  staged_.slots = send(batch.slots, tokens, [](size_t) { return int64_t{-1}; });
  staged_.sample_rows = send(batch.sample_rows, sampled, [](size_t i) { return static_cast<int32_t>(i); });
  staged_.hidden_rows = send(batch.hidden_rows, batch.hidden_rows.size(), zero);
  int32_t* const table = arrays_.reserve<int32_t>(sequences * stride);
  for (size_t s = 0; s < static_cast<size_t>(batch.sequences()); ++s) {
    std::ranges::copy(batch.block_table.subspan(s * static_cast<size_t>(batch.block_table_stride), stride),
                      table + s * stride);
  }
  staged_.block_table = std::span(arrays_.on_device(table), sequences * stride);
  staged_.block_table_stride = static_cast<int64_t>(stride);
  arrays_.send(stream_);
  if (std::ranges::any_of(batch.token_ids, [](int32_t id) { return id < 0; })) {
    SLUICE_CHECK(latest_ids != nullptr);
    resolve_tokens(ids.data(), static_cast<int>(batch.tokens()), latest_ids, stream_);
  }
  return staged_;
}

}  // namespace sluice::cuda
