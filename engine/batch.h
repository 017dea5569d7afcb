// Turns a plan into the flat arrays a runner takes: first what is computed, later, when every token before is
// known, how the results are sampled. Everything is sized once for the largest step; in the steady state a
// step writes O(tokens + new blocks): a row of the block table is kept while the same sequence stands in it.
// Engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model_runner.h"
#include "engine/scheduler.h"

namespace sluice {

struct BatchLimits {
  int tokens = 0;         // T
  int sequences = 0;      // S
  int max_model_len = 0;  // tokens of one sequence
  int block_tokens = 16;  // B
};

class Batch {
 public:
  explicit Batch(const BatchLimits& limits);

  // What `plan` computes; valid until the next build.
  const StepBatch& build(const Plan& plan);
  // How its rows are sampled. They see the sequences' own tokens, which must not change before the step has
  // been collected.
  std::span<const SamplingRow> sampling();
  // Nobody asks for the sequence's rows any more; it may go.
  void drop(const Sequence& sequence);

  // What the sampled tokens belong to, in order: a sequence's next one, or a score of its prompt.
  struct Sampled {
    Sequence* sequence = nullptr;  // null: dropped
    int32_t given = -1;            // >= 0: the prompt's token that is scored
  };
  const std::vector<Sampled>& sampled() const { return sampled_; }
  // Whose hidden states they are, in order: `rows` of each, the last of its prompt among them when `ends`.
  struct Pooled {
    Sequence* sequence = nullptr;  // null: dropped
    int32_t first = 0, rows = 0;   // prompt tokens [first, first + rows)
    bool ends = false;
  };
  const std::vector<Pooled>& pooled() const { return pooled_; }

 private:
  struct Row {  // what a row of the block table holds already
    RequestId id = 0;
    uint32_t version = 0;
    size_t blocks = 0;
  };
  void append_tokens(const PlanItem& item);
  void fill_table_row(size_t row, const Sequence& sequence);
  void append_scored(const PlanItem& item);
  static SamplingRow sampling_of(Sequence& sequence);
  static void ban_bad_tokens(Sequence& sequence);
  void append_pooled(const PlanItem& item);

  const BatchLimits limits_;
  const size_t table_stride_;
  std::vector<int32_t> token_ids_, positions_, query_start_, context_lengths_, sample_rows_, hidden_rows_;
  std::vector<int64_t> slots_;
  std::unique_ptr<int32_t[]> block_table_;  // untouched rows cost no memory
  std::vector<Row> rows_;
  std::vector<SamplingRow> sampling_;
  std::vector<Sampled> sampled_;
  std::vector<Pooled> pooled_;
  StepBatch batch_;
};

}  // namespace sluice
