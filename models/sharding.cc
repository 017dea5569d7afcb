#include "models/sharding.h"

#include <algorithm>
#include <optional>
#include <string>

namespace sluice {
namespace {

enum class Axis : uint8_t { kRows, kColumns };

struct Line {
  std::string_view name_end;
  Axis axis;
  Dealt what;
};

constexpr Line kTable[] = {
    {"q_proj.weight", Axis::kRows, Dealt::kQueries},
    {"q_proj.bias", Axis::kRows, Dealt::kQueries},
    {"k_proj.weight", Axis::kRows, Dealt::kKeys},
    {"k_proj.bias", Axis::kRows, Dealt::kKeys},
    {"v_proj.weight", Axis::kRows, Dealt::kKeys},
    {"v_proj.bias", Axis::kRows, Dealt::kKeys},
    {"o_proj.weight", Axis::kColumns, Dealt::kQueries},
    {"gate_proj.weight", Axis::kRows, Dealt::kMlp},
    {"up_proj.weight", Axis::kRows, Dealt::kMlp},
    {"down_proj.weight", Axis::kColumns, Dealt::kMlp},
    {"embed_tokens.weight", Axis::kColumns, Dealt::kWidth},
    {"lm_head.weight", Axis::kRows, Dealt::kVocabulary},
};

// Weights of a block in the matrices that are cut by columns, the largest of all layers.
struct BlockWeights {
  int64_t attention = 1, mlp = 1, embedding = 1;
};

Result<BlockWeights> blocks_of(const ModelConfig& c, const TensorSource& tensors) {
  const auto block = [](WeightFormat format) { return int64_t{facts_of(format).block_weights}; };
  BlockWeights largest;
  SLUICE_ASSIGN(const WeightFormat embedding,
                tensors.format("model.embed_tokens.weight", c.vocabulary, c.width));
  largest.embedding = block(embedding);
  for (int l = 0; l < c.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    SLUICE_ASSIGN(const WeightFormat output, tensors.format(layer + "self_attn.o_proj.weight", c.width,
                                                            int64_t{c.query_heads} * c.head_size));
    SLUICE_ASSIGN(const WeightFormat down,
                  tensors.format(layer + "mlp.down_proj.weight", c.width, c.mlp_width));
    largest.attention = std::max(largest.attention, block(output));
    largest.mlp = std::max(largest.mlp, block(down));
  }
  return largest;
}

// The rank's part of `total` things that are dealt out `unit` at a time, the last with what is left.
Range deal(int64_t total, int64_t unit, DeviceRank rank) {
  const int64_t units = (total + unit - 1) / unit;
  const auto bound = [&](int64_t r) { return std::min(total, units * r / rank.count * unit); };
  return {bound(rank.index), bound(rank.index + 1) - bound(rank.index)};
}

// The coarsest unit of whole blocks that leaves no rank without a part: rows of full cache lines where that
// is possible. 0: there is none.
int64_t unit_of(int64_t total, int64_t block, int ranks) {
  for (const int64_t most : {int64_t{16}, int64_t{8}, int64_t{1}}) {
    const int64_t unit = std::max(block, most);
    if (total % unit == 0 && total / unit >= ranks) return unit;
  }
  return 0;
}

struct Heads {
  Range queries, keys;
};

// Whole groups of query heads with their kv head; with more ranks than kv heads, parts of a group.
std::optional<Heads> deal_heads(const ModelConfig& c, DeviceRank rank) {
  const int group = c.query_heads / c.kv_heads;
  if (rank.count <= c.kv_heads) {
    const Range keys = deal(c.kv_heads, 1, rank);
    return Heads{{keys.first * group, keys.count * group}, keys};
  }
  const int sharers = rank.count / c.kv_heads;
  if (rank.count % c.kv_heads != 0 || sharers > group) return std::nullopt;
  const Range part = deal(group, 1, {rank.index % sharers, sharers});
  const int key = rank.index / sharers;
  return Heads{{int64_t{key} * group + part.first, part.count}, {key, 1}};
}

// Empty when the model can be divided among so many ranks, else why not.
std::string why_not(const ModelConfig& c, const BlockWeights& blocks, int ranks) {
  for (int r = 0; r < ranks; ++r) {
    const auto heads = deal_heads(c, {r, ranks});
    if (!heads) {
      return "its " + std::to_string(c.query_heads) + " query heads share " + std::to_string(c.kv_heads) +
             " key and value heads";
    }
    if (heads->queries.first * c.head_size % blocks.attention != 0) {
      return "a rank's heads of " + std::to_string(c.head_size) + " weights do not begin at a block of " +
             std::to_string(blocks.attention) + " weights, as its attention is stored in";
    }
  }
  if (unit_of(c.mlp_width, blocks.mlp, ranks) == 0) {
    return "its mlp's " + std::to_string(c.mlp_width) + " columns are stored in blocks of " +
           std::to_string(blocks.mlp);
  }
  if (c.vocabulary < ranks) return "its vocabulary has " + std::to_string(c.vocabulary) + " tokens";
  return "";
}

Error cannot_divide(const ModelConfig& c, const BlockWeights& blocks, int ranks, const std::string& why) {
  std::string possible;
  for (int n = 1; n <= std::min(c.query_heads, 64); ++n)
    if (why_not(c, blocks, n).empty()) possible += (possible.empty() ? "" : ", ") + std::to_string(n);
  return invalid_argument("--tensor-parallel-size",
                          "The model cannot be divided among " + std::to_string(ranks) + " ranks: " + why +
                              ". Set --tensor-parallel-size to one of " + possible + ".");
}

}  // namespace

Result<Sharding> Sharding::of(const ModelConfig& c, const TensorSource& tensors, DeviceRank rank) {
  SLUICE_CHECK(rank.index >= 0 && rank.index < rank.count);
  Sharding s;
  s.held_ = c;
  s.ranges_ = {Range{0, int64_t{c.query_heads} * c.head_size}, Range{0, int64_t{c.kv_heads} * c.head_size},
               Range{0, c.mlp_width}, Range{0, c.width}, Range{0, c.vocabulary}};
  if (rank.count == 1) return s;

  SLUICE_ASSIGN(const BlockWeights blocks, blocks_of(c, tensors));
  const std::string why = why_not(c, blocks, rank.count);
  if (!why.empty()) return cannot_divide(c, blocks, rank.count, why);
  const auto set = [&](Dealt what, Range range) { s.ranges_[static_cast<size_t>(what)] = range; };
  const Heads heads = *deal_heads(c, rank);
  const auto weights = [&](Range r) { return Range{r.first * c.head_size, r.count * c.head_size}; };
  set(Dealt::kQueries, weights(heads.queries));
  set(Dealt::kKeys, weights(heads.keys));
  set(Dealt::kMlp, deal(c.mlp_width, unit_of(c.mlp_width, blocks.mlp, rank.count), rank));
  if (const int64_t unit = unit_of(c.width, blocks.embedding, rank.count); unit > 0)
    set(Dealt::kWidth, deal(c.width, unit, rank));
  constexpr int64_t kHeadUnit = 16;  // rows that devices pack together
  set(Dealt::kVocabulary, deal(c.vocabulary, c.vocabulary >= kHeadUnit * rank.count ? kHeadUnit : 1, rank));
  s.held_.query_heads = static_cast<int>(heads.queries.count);
  s.held_.kv_heads = static_cast<int>(heads.keys.count);
  s.held_.mlp_width = static_cast<int>(s.range(Dealt::kMlp).count);
  return s;
}

Sharding::Piece Sharding::piece(std::string_view name, int64_t rows, int64_t columns) const {
  Piece piece{{0, rows}, {0, columns}};
  for (const Line& line : kTable) {
    if (!name.ends_with(line.name_end)) continue;
    (line.axis == Axis::kRows ? piece.rows : piece.columns) = range(line.what);
  }
  return piece;
}

}  // namespace sluice
