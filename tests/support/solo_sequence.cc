#include "tests/support/solo_sequence.h"

#include <numeric>

namespace sluice {

SoloSequence::SoloSequence(Model& model, Backend& backend, DType kv_dtype, int capacity)
    : model_(model),
      backend_(backend),
      layout_{.block_tokens = 16,
              .kv_heads = model.held().kv_heads,
              .head_size = model.config().head_size,
              .dtype = kv_dtype,
              .order = backend.kv_order()} {
  const int count = (capacity + 15) / 16;
  for (int b = 0; b < count; ++b) blocks_.push_back((b * 7 + 3) % count);
  if (count % 7 == 0) std::iota(blocks_.rbegin(), blocks_.rend(), 0);  // 7 b + 3 would not visit all of them
  for (int l = 0; l < model.config().layers; ++l) {
    const size_t bytes = layout_.block_bytes() * static_cast<size_t>(count);
    memory_.push_back(std::move(backend.allocate(bytes * 2)).value());
    cache_.push_back({layout_, memory_.back()->data(), memory_.back()->data() + bytes, count});
  }
}

std::vector<std::vector<float>> SoloSequence::append(const std::vector<int32_t>& ids) {
  const auto count = static_cast<int32_t>(ids.size());
  std::vector<int32_t> positions(ids.size()), rows(ids.size());
  std::vector<int64_t> slots;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t p = length_ + i;
    positions[static_cast<size_t>(i)] = p;
    rows[static_cast<size_t>(i)] = i;
    slots.push_back(static_cast<int64_t>(blocks_.at(static_cast<size_t>(p / 16))) * 16 + p % 16);
  }
  length_ += count;
  const std::vector<int32_t> start{0, count}, lengths{length_};
  const StepBatch batch{.token_ids = ids,
                        .positions = positions,
                        .slots = slots,
                        .query_start = start,
                        .context_lengths = lengths,
                        .block_table = blocks_,
                        .block_table_stride = static_cast<int64_t>(blocks_.size()),
                        .sample_rows = rows};
  const int64_t vocabulary = model_.config().vocabulary;
  auto buffer = std::move(backend_.allocate(ids.size() * static_cast<size_t>(vocabulary) * 4)).value();
  const TensorView logits = TensorView::of(buffer->data(), DType::kF32, count, vocabulary);
  model_.forward(backend_.stage(batch), cache_, {logits, {}});
  backend_.synchronize();
  std::vector<std::vector<float>> out(ids.size(), std::vector<float>(static_cast<size_t>(vocabulary)));
  for (size_t i = 0; i < ids.size(); ++i) {
    backend_.copy_to_host(out[i].data(), reinterpret_cast<std::byte*>(logits.f32(static_cast<int64_t>(i))),
                          static_cast<size_t>(vocabulary) * 4);
  }
  return out;
}

}  // namespace sluice
