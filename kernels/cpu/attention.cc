#include "kernels/cpu/attention.h"

#include <algorithm>

namespace sluice::cpu {
namespace {

// Rows times context tokens times D under which waking threads costs more than it saves.
constexpr int64_t kInlineWork = 64 << 10;

template <class V>
void grow(V& v, int64_t n) {
  if (v.size() < static_cast<size_t>(n)) v.resize(static_cast<size_t>(n));
}

int64_t row_stride(int head_size) {
  return (head_size + 15) / 16 * 16;
}

}  // namespace

CacheType cache_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CacheType::kF32;
    case DType::kF16:
      return CacheType::kF16;
    case DType::kBF16:
      return CacheType::kBF16;
    case DType::kI8:
      return CacheType::kI8;
    case DType::kF8:
    case DType::kI32:
      break;
  }
  SLUICE_CHECK(!"a KV cache type");
  return CacheType::kF32;
}

AttentionRunner::AttentionRunner(const KernelTable& kernels, ThreadPool& pool)
    : kernels_(&kernels), pool_(&pool), scratch_(static_cast<size_t>(pool.threads())) {}

void AttentionRunner::plan(const StepBatch& batch, const AttentionShape& shape) {
  rows_.clear();
  const int group = shape.query_heads / shape.kv_heads;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const auto at = static_cast<size_t>(s);
    const int64_t queries = batch.query_start[at + 1] - batch.query_start[at];
    const int64_t first_position = batch.context_lengths[at] - queries;
    const int64_t all = queries * group, tiles = (all + kAttendRows - 1) / kAttendRows;
    for (int64_t tile = tiles - 1; tile >= 0; --tile) {  // the longest first
      Rows r{};
      r.sequence = static_cast<int32_t>(s);
      r.first_row = all * tile / tiles;
      r.row_count = all * (tile + 1) / tiles - r.first_row;
      const int64_t first = first_position + r.first_row / group;
      const int64_t last = first_position + (r.first_row + r.row_count - 1) / group;
      const int64_t begin =
          shape.sliding_window > 0 ? std::max<int64_t>(0, first - shape.sliding_window + 1) : 0;
      r.first_split = begin / kSplitTokens;
      r.split_count = last / kSplitTokens + 1 - r.first_split;
      for (r.kv_head = 0; r.kv_head < shape.kv_heads; ++r.kv_head) rows_.push_back(r);
    }
  }
}

AttendArgs AttentionRunner::arguments(const Rows& rows, const StepBatch& batch, const AttentionShape& shape,
                                      TensorView qkv, const KvView& cache) const {
  const auto s = static_cast<size_t>(rows.sequence);
  AttendArgs a{};
  a.keys = cache.keys;
  a.values = cache.values;
  a.block_bytes = static_cast<int64_t>(cache.layout.block_bytes());
  a.page_offset = static_cast<int64_t>(cache.layout.page_bytes()) * rows.kv_head;
  a.blocks = batch.block_table.data() + rows.sequence * batch.block_table_stride;
  a.block_tokens = cache.layout.block_tokens;
  a.head_size = shape.head_size;
  a.group = shape.query_heads / shape.kv_heads;
  a.q = qkv.f32(batch.query_start[s]) + static_cast<int64_t>(rows.kv_head) * a.group * shape.head_size;
  a.q_stride = qkv.row_stride;
  a.first_row = rows.first_row;
  a.row_count = rows.row_count;
  a.first_position = batch.context_lengths[s] - (batch.query_start[s + 1] - batch.query_start[s]);
  a.window = shape.sliding_window;
  a.scale = shape.scale;
  return a;
}

// One split for all rows of `rows`; the context ends where the last row's does.
static void set_split(AttendArgs& a, int64_t split) {
  const int64_t end = a.first_position + (a.first_row + a.row_count - 1) / a.group + 1;
  a.split_begin = split * kSplitTokens;
  a.split_end = std::min(a.split_begin + kSplitTokens, end);
}

void AttentionRunner::finish_rows(const Rows& rows, const AttendArgs& args, const float* sums, int64_t stride,
                                  const float* total, const StepBatch& batch, TensorView out) const {
  const int64_t first_token = batch.query_start[static_cast<size_t>(rows.sequence)];
  for (int64_t r = 0; r < rows.row_count; ++r) {
    const int64_t number = rows.first_row + r;
    const int64_t head = static_cast<int64_t>(rows.kv_head) * args.group + number % args.group;
    kernels_->finish(sums + r * stride, total[r], args.head_size,
                     out.f32(first_token + number / args.group) + head * args.head_size);
  }
}

// All splits one after another in one thread.
void AttentionRunner::run_whole(const Rows& rows, Attend attend, AttendArgs a, Scratch& scratch,
                                const StepBatch& batch, TensorView out) const {
  const int64_t stride = row_stride(a.head_size);
  grow(scratch.loop, attend_scratch_floats(a.head_size));
  grow(scratch.sums, kAttendRows * stride);
  grow(scratch.partial, kAttendRows * stride);
  grow(scratch.largest, 2 * kAttendRows);
  grow(scratch.total, 2 * kAttendRows);
  a.scratch = scratch.loop.data();
  a.partial_stride = stride;
  for (int64_t split = 0; split < rows.split_count; ++split) {
    set_split(a, rows.first_split + split);
    const int64_t place = split == 0 ? 0 : kAttendRows;
    a.partial = split == 0 ? scratch.sums.data() : scratch.partial.data();
    a.largest = scratch.largest.data() + place;
    a.total = scratch.total.data() + place;
    attend(a);
    for (int64_t r = 0; split > 0 && r < rows.row_count; ++r) {
      kernels_->merge(scratch.sums.data() + r * stride, &scratch.largest[static_cast<size_t>(r)],
                      &scratch.total[static_cast<size_t>(r)], a.partial + r * stride, a.largest[r],
                      a.total[r], a.head_size);
    }
  }
  finish_rows(rows, a, scratch.sums.data(), stride, scratch.total.data(), batch, out);
}

void AttentionRunner::run(const StepBatch& batch, const AttentionShape& shape, TensorView qkv,
                          const KvView& cache, TensorView out) {
  plan(batch, shape);
  if (rows_.empty()) return;
  const auto attend = kernels_->attend[static_cast<int>(cache_type(cache.layout.dtype))];
  int64_t work = 0;
  bool splits = false;
  for (const Rows& r : rows_) {
    work += r.row_count * r.split_count * kSplitTokens * shape.head_size;
    splits |= r.split_count > 1;
  }
  const int threads = pool_->threads(), count = static_cast<int>(rows_.size());
  if (threads == 1 || work < kInlineWork || count >= 4 * threads || !splits) {
    const int parts = threads == 1 || work < kInlineWork ? 1 : std::min(count, ThreadPool::kMostParts);
    pool_->run(parts, [&](int part, int thread) {
      for (int i = part; i < count; i += parts) {
        const Rows& rows = rows_[static_cast<size_t>(i)];
        run_whole(rows, attend, arguments(rows, batch, shape, qkv, cache),
                  scratch_[static_cast<size_t>(thread)], batch, out);
      }
    });
    return;
  }
  // Few rows, long contexts: the splits themselves are shared out.
  const int64_t stride = row_stride(shape.head_size);
  tasks_.clear();
  int64_t partial_rows = 0;
  for (int i = 0; i < count; ++i) {
    Rows& r = rows_[static_cast<size_t>(i)];
    r.first_partial = partial_rows;
    partial_rows += r.row_count * r.split_count;
    for (int split = 0; split < r.split_count; ++split) tasks_.emplace_back(i, split);
  }
  grow(partials_, partial_rows * stride);
  grow(largest_, partial_rows);
  grow(totals_, partial_rows);
  const int task_count = static_cast<int>(tasks_.size()),
            parts = std::min(task_count, ThreadPool::kMostParts);
  pool_->run(parts, [&](int part, int thread) {
    Scratch& scratch = scratch_[static_cast<size_t>(thread)];
    grow(scratch.loop, attend_scratch_floats(shape.head_size));
    for (int i = part; i < task_count; i += parts) {
      const auto [index, split] = tasks_[static_cast<size_t>(i)];
      const Rows& rows = rows_[static_cast<size_t>(index)];
      const int64_t place = rows.first_partial + split * rows.row_count;
      AttendArgs a = arguments(rows, batch, shape, qkv, cache);
      set_split(a, rows.first_split + split);
      a.scratch = scratch.loop.data();
      a.partial = partials_.data() + place * stride;
      a.partial_stride = stride;
      a.largest = largest_.data() + place;
      a.total = totals_.data() + place;
      attend(a);
    }
  });
  for (const Rows& rows : rows_) {
    for (int64_t split = 1; split < rows.split_count; ++split) {
      for (int64_t r = 0; r < rows.row_count; ++r) {
        const int64_t into = rows.first_partial + r, from = into + split * rows.row_count;
        kernels_->merge(partials_.data() + into * stride, &largest_[static_cast<size_t>(into)],
                        &totals_[static_cast<size_t>(into)], partials_.data() + from * stride,
                        largest_[static_cast<size_t>(from)], totals_[static_cast<size_t>(from)],
                        shape.head_size);
      }
    }
    finish_rows(rows, arguments(rows, batch, shape, qkv, cache),
                partials_.data() + rows.first_partial * stride, stride, totals_.data() + rows.first_partial,
                batch, out);
  }
}

}  // namespace sluice::cpu
