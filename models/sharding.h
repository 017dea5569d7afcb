// Which part of which weight a rank holds when several compute one model together (tensor parallelism after
// Megatron-LM, https://arxiv.org/abs/1909.08053): heads and mlp columns are dealt out, so that each half of a
// layer needs one sum over the ranks, after its second matrix. The table is in sharding.cc. Values only.
//
//   q, k, v      rows, by heads; with fewer kv heads than ranks each is held by several of them
//   o            columns, by the same heads               -> summed
//   gate, up     rows
//   down         columns, the same                        -> summed
//   embedding    columns                                  -> gathered; whole where its blocks allow no cut
//   head         rows, by the vocabulary                  -> gathered
//   the rest     whole
// Columns are cut between the blocks of their format. Shares may be unequal.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "kernels/collective.h"
#include "models/model_config.h"
#include "models/tensor_source.h"

namespace sluice {

struct Range {
  int64_t first = 0, count = 0;
  bool operator==(const Range&) const = default;
};

// What is dealt out, counted in rows or columns of the matrices that have it.
enum class Dealt : uint8_t { kQueries, kKeys, kMlp, kWidth, kVocabulary };

class Sharding {
 public:
  // An Error when the model cannot be divided so, with the numbers of ranks that it can be divided among.
  static Result<Sharding> of(const ModelConfig& config, const TensorSource& tensors, DeviceRank rank);

  // The model as this rank computes it: with its heads and its share of the mlp's width, else as it is.
  const ModelConfig& held() const { return held_; }
  Range range(Dealt what) const { return ranges_[static_cast<size_t>(what)]; }

  // This rank's part of a matrix, or of a vector as rows of one column, by what the name ends with:
  // "q_proj.weight".
  struct Piece {
    Range rows, columns;
  };
  Piece piece(std::string_view name, int64_t rows, int64_t columns) const;

 private:
  ModelConfig held_;
  std::array<Range, 5> ranges_;
};

}  // namespace sluice
