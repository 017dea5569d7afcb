// Drives the attention loops: cuts a ragged batch into tasks (sequence, kv head, rows, splits of the
// context), shares them out, and merges the splits. Every cut gives the same bits (kernel_table.h says why).
// The backend's thread only.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"

namespace sluice::cpu {

class AttentionRunner {
 public:
  AttentionRunner(const KernelTable& kernels, ThreadPool& pool);
  void run(const StepBatch& batch, const AttentionShape& shape, TensorView qkv, const KvView& cache,
           TensorView out);

 private:
  // Rows of one sequence and kv head that walk their context together.
  struct Rows {
    int32_t sequence;
    int32_t kv_head;
    int64_t first_row, row_count;
    int64_t first_split, split_count;
    int64_t first_partial;  // in rows, where splits go that other threads compute
  };
  struct Scratch {  // of one thread
    std::vector<float> loop, sums, partial, largest, total;
  };

  void plan(const StepBatch& batch, const AttentionShape& shape);
  AttendArgs arguments(const Rows& rows, const StepBatch& batch, const AttentionShape& shape, TensorView qkv,
                       const KvView& cache) const;
  using Attend = void (*)(const AttendArgs&);
  void run_whole(const Rows& rows, Attend attend, AttendArgs args, Scratch& scratch, const StepBatch& batch,
                 TensorView out) const;
  void finish_rows(const Rows& rows, const AttendArgs& args, const float* sums, int64_t stride,
                   const float* total, const StepBatch& batch, TensorView out) const;

  const KernelTable* kernels_;
  ThreadPool* pool_;
  std::vector<Rows> rows_;
  std::vector<std::pair<int32_t, int32_t>> tasks_;  // (index into rows_, split), when splits are shared out
  std::vector<Scratch> scratch_;
  std::vector<float> partials_, largest_, totals_;
};

CacheType cache_type(DType dtype);

}  // namespace sluice::cpu
