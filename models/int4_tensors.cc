// The 4-bit part of models/quantised_tensors.h. What the three layouts share: w[o][i] = (q - zero) * scale
// with a scale and a zero for each group of inputs; words of 32 bits hold eight values, four bits each.
//   AWQ     qweight [in, out / 8], qzeros [groups, out / 8], scales [groups, out]; the nibbles of a word,
//   from
//           the lowest, are outputs 0, 2, 4, 6, 1, 3, 5, 7 (https://github.com/casper-hansen/AutoAWQ)
//   GPTQ    qweight [in / 8, out], eight inputs to a word in order; qzeros [groups, out / 8] in order, one
//   too
//           small in the first format; scales [groups, out]; g_idx [in]: the group of each input
//           (https://github.com/ModelCloud/GPTQModel)
//   packed  weight_packed [out, in / 8], weight_zero_point [out / 8, groups], weight_scale [out, groups],
//           weight_g_idx; signed values with 8 added (https://github.com/vllm-project/compressed-tensors)
// With a g_idx that mixes groups the inputs are sorted by group, and the order comes with the weight.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/log.h"
#include "base/parallel.h"
#include "kernels/quant_blocks.h"
#include "models/quantised_tensors.h"

namespace sluice {
namespace {

constexpr int64_t kTileOutputs = 128;
constexpr int kBiggestBlock = 64;

uint32_t word_at(const PackedTensor& tensor, int64_t row, int64_t column) {
  uint32_t word;
  std::memcpy(&word, tensor.bytes.data() + 4 * (row * tensor.columns + column), 4);
  return word;
}

int awq_shift(int64_t output) {
  constexpr int kShifts[] = {0, 16, 4, 20, 8, 24, 12, 28};
  return kShifts[output % 8];
}

// A matrix's tensors, found and of the right shapes.
struct Int4 {
  WeightScheme scheme = WeightScheme::kPlain;
  bool zeros_less_one = false;
  int64_t rows = 0, columns = 0, group = 0, groups = 0;
  const PackedTensor* values = nullptr;
  const PackedTensor* zeros = nullptr;  // null: all 8
  std::vector<float> scales;
  std::vector<int32_t> order;  // column -> input; empty: the same

  float scale(int64_t output, int64_t g) const {
    return scales[static_cast<size_t>(scheme == WeightScheme::kPacked ? output * groups + g
                                                                      : g * rows + output)];
  }
  int zero(int64_t output, int64_t g) const {
    if (zeros == nullptr) return 8;
    switch (scheme) {
      case WeightScheme::kAwq:
        return static_cast<int>(word_at(*zeros, g, output / 8) >> awq_shift(output) & 15U);
      case WeightScheme::kPacked:
        return static_cast<int>(word_at(*zeros, output / 8, g) >> (4 * (output % 8)) & 15U);
      default: {  // 15 can only be a zero of 0, less one
        const uint32_t stored = word_at(*zeros, g, output / 8) >> (4 * (output % 8));
        return static_cast<int>((stored + (zeros_less_one ? 1U : 0U)) & 15U);
      }
    }
  }
  // q[o] of `count` outputs from `first` on, of one column.
  void take_column(int64_t column, int64_t first, int64_t count, uint8_t* q) const {
    const int64_t input = order.empty() ? column : order[static_cast<size_t>(column)];
    switch (scheme) {
      case WeightScheme::kAwq:
        for (int64_t o = 0; o < count; o += 8) {  // outputs are a multiple of 8
          const uint32_t word = word_at(*values, input, (first + o) / 8);
          for (int64_t i = 0; i < 8; ++i) q[o + i] = word >> awq_shift(i) & 15U;
        }
        return;
      case WeightScheme::kPacked:
        for (int64_t o = 0; o < count; ++o)
          q[o] = word_at(*values, first + o, input / 8) >> (4 * (input % 8)) & 15U;
        return;
      default:
        for (int64_t o = 0; o < count; ++o)
          q[o] = word_at(*values, input / 8, first + o) >> (4 * (input % 8)) & 15U;
    }
  }
};

Error corrupt(const std::string& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file + "': " + what, ""};
}

// The inputs sorted by group, each group as it was; empty where they lie so already.
Result<std::vector<int32_t>> sorted_inputs(const PackedTensor& g_idx, const Int4& w, const std::string& name,
                                           const std::string& file) {
  std::vector<int32_t> group_of(static_cast<size_t>(w.columns));
  std::memcpy(group_of.data(), g_idx.bytes.data(), group_of.size() * 4);
  for (size_t i = 0; i < group_of.size(); ++i) {
    if (group_of[i] < 0 || group_of[i] >= w.groups) {
      return corrupt(file, "'" + log::safe(name) + "' puts input " + std::to_string(i) + " into group " +
                               std::to_string(group_of[i]) + "; there are " + std::to_string(w.groups) +
                               ", counted from 0.");
    }
  }
  std::vector<int32_t> order;
  if (!std::ranges::is_sorted(group_of)) {
    order.resize(group_of.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](int32_t i) { return group_of[static_cast<size_t>(i)]; });
  }
  for (size_t c = 0; c < group_of.size(); ++c) {
    const size_t input = order.empty() ? c : static_cast<size_t>(order[c]);
    if (group_of[input] != static_cast<int64_t>(c) / w.group) {
      return corrupt(file, "'" + log::safe(name) + "' gives group " + std::to_string(group_of[input]) +
                               " another number of inputs than the group size of " + std::to_string(w.group) +
                               ".");
    }
  }
  return order;
}

struct Names {
  const char *values, *scales, *zeros, *order;
};

Result<Int4> find(const SafetensorsTensors& tensors, const Quantisation& quantisation,
                  const std::string& base, int64_t rows, int64_t columns, const std::string& file) {
  Int4 w;
  w.scheme = quantisation.scheme;
  w.zeros_less_one = quantisation.zeros_less_one;
  w.rows = rows;
  w.columns = columns;
  w.group = quantisation.group == 0 ? columns : quantisation.group;
  w.groups = (columns + w.group - 1) / w.group;
  if (rows % 8 != 0 || columns % 32 != 0) {
    return Error{ErrorCode::kUnsupported, "'" + file + "': '" + log::safe(base) + "' is " +
                                              std::to_string(rows) + " x " + std::to_string(columns) +
                                              "; of 4-bit weights, outputs in multiples of 8 and inputs in "
                                              "multiples of 32 are served."};
  }
  const bool packed = w.scheme == WeightScheme::kPacked;
  const Names names = packed ? Names{"weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx"}
                             : Names{"qweight", "scales", "qzeros", "g_idx"};
  const std::string values = base + names.values, zeros = base + names.zeros, order = base + names.order;
  const bool by_inputs = w.scheme == WeightScheme::kGptq;
  SLUICE_ASSIGN(w.values, packed      ? tensors.packed(values, "I32", rows, columns / 8)
                          : by_inputs ? tensors.packed(values, "I32", columns / 8, rows)
                                      : tensors.packed(values, "I32", columns, rows / 8));
  if (!quantisation.symmetric) {
    SLUICE_ASSIGN(w.zeros, packed ? tensors.packed(zeros, "I32", rows / 8, w.groups)
                                  : tensors.packed(zeros, "I32", w.groups, rows / 8));
  }
  SLUICE_ASSIGN(const auto* scales, tensors.stored(base + names.scales));
  const int64_t scale_rows = packed ? rows : w.groups, scale_columns = packed ? w.groups : rows;
  if (scales->rows != scale_rows || scales->columns != scale_columns) {
    return corrupt(file, "'" + log::safe(base) + names.scales + "' is " + std::to_string(scales->rows) +
                             " x " + std::to_string(scales->columns) + ", but groups of " +
                             std::to_string(w.group) + " make it " + std::to_string(scale_rows) + " x " +
                             std::to_string(scale_columns) + ".");
  }
  SLUICE_ASSIGN(w.scales, flat_values(*scales, file));
  if (tensors.find_packed(order) != nullptr) {
    SLUICE_ASSIGN(const auto* g_idx, tensors.packed(order, "I32", 1, columns));
    SLUICE_ASSIGN(w.order, sorted_inputs(*g_idx, w, order, file));
  }
  return w;
}

struct Converted {
  std::vector<std::byte> bytes;
  std::vector<int32_t> order;
};

// Outputs [first, first + count), at most kTileOutputs, into blocks.
void convert(const Int4& w, int block, int64_t first, int64_t count, size_t row_bytes, std::byte* bytes) {
  const auto block_bytes = kI4ValuesAt + static_cast<size_t>(block) / 2;
  uint8_t q[kBiggestBlock][kTileOutputs];
  for (int64_t b = 0; b < w.columns / block; ++b) {
    for (int c = 0; c < block; ++c) w.take_column(b * block + c, first, count, q[c]);
    for (int64_t o = 0; o < count; ++o) {
      std::byte* const to =
          bytes + static_cast<size_t>(first + o) * row_bytes + static_cast<size_t>(b) * block_bytes;
      const int64_t g = b * block / w.group;
      const float scale = w.scale(first + o, g);
      std::memcpy(to, &scale, 4);
      to[kI4ZeroAt] = static_cast<std::byte>(w.zero(first + o, g));
      for (int j = 0; j < block / 2; ++j) {
        const int c = j / 16 * 32 + j % 16;
        to[kI4ValuesAt + static_cast<size_t>(j)] = static_cast<std::byte>(q[c][o] | q[c + 16][o] << 4);
      }
    }
  }
}

}  // namespace

WeightFormat int4_format(const Quantisation& quantisation, int64_t columns) {
  return quantisation.group % 64 == 0 && columns % 64 == 0 ? WeightFormat::kI4_64 : WeightFormat::kI4_32;
}

Result<HostWeight> int4_matrix(const SafetensorsTensors& tensors, const Quantisation& quantisation,
                               const std::string& base, int64_t rows, int64_t columns,
                               const std::string& file) {
  SLUICE_ASSIGN(Int4 w, find(tensors, quantisation, base, rows, columns, file));
  HostWeight weight{.rows = rows, .columns = columns};
  weight.format = int4_format(quantisation, columns);
  auto converted = std::make_shared<Converted>();
  converted->bytes.resize(weight.row_bytes() * static_cast<size_t>(rows));
  in_parallel((rows + kTileOutputs - 1) / kTileOutputs, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * kTileOutputs; first < std::min(end * kTileOutputs, rows);
         first += kTileOutputs) {
      convert(w, facts_of(weight.format).block_weights, first, std::min(kTileOutputs, rows - first),
              weight.row_bytes(), converted->bytes.data());
    }
  });
  converted->order = std::move(w.order);
  weight.bytes = converted->bytes.data();
  weight.input_order = converted->order;
  weight.owner = std::move(converted);
  return weight;
}

}  // namespace sluice
