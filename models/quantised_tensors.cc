#include "models/quantised_tensors.h"

#include <utility>

#include "base/log.h"

namespace sluice {
namespace {

class QuantisedTensors final : public TensorSource {
 public:
  QuantisedTensors(std::unique_ptr<SafetensorsTensors> tensors, Quantisation quantisation, std::string file)
      : tensors_(std::move(tensors)), quantisation_(quantisation), file_(std::move(file)) {}

  bool has(std::string_view name) const override { return tensors_->has(name) || is_quantised(name); }
  Result<HostWeight> matrix(std::string_view name, int64_t rows, int64_t columns) const override {
    if (!is_quantised(name)) return tensors_->matrix(name, rows, columns);
    const auto read = quantisation_.scheme == WeightScheme::kF8 ? f8_matrix : int4_matrix;
    SLUICE_ASSIGN(HostWeight weight, read(*tensors_, quantisation_, base_of(name), rows, columns, file_));
    if (!weight.input_order.empty() && name.ends_with("embed_tokens.weight")) {
      return Error{
          ErrorCode::kUnsupported,
          "'" + file_ + "': the embedding's columns are sorted by groups (g_idx), which is not served.", ""};
    }
    return weight;
  }
  Result<WeightFormat> format(std::string_view name, int64_t rows, int64_t columns) const override {
    if (!is_quantised(name)) return tensors_->format(name, rows, columns);
    return quantisation_.scheme == WeightScheme::kF8 ? WeightFormat::kF8
                                                     : int4_format(quantisation_, columns);
  }
  Result<std::vector<float>> vector(std::string_view name, int64_t length) const override {
    return tensors_->vector(name, length);
  }
  size_t total_bytes() const override { return tensors_->total_bytes(); }

 private:
  static std::string base_of(std::string_view name) {
    return std::string(name.substr(0, name.size() - std::string_view("weight").size()));
  }
  bool is_quantised(std::string_view name) const {
    if (!name.ends_with(".weight")) return false;
    switch (quantisation_.scheme) {
      case WeightScheme::kAwq:
      case WeightScheme::kGptq:
        return tensors_->find_packed(base_of(name) + "qweight") != nullptr;
      case WeightScheme::kPacked:
        return tensors_->find_packed(base_of(name) + "weight_packed") != nullptr;
      case WeightScheme::kF8: {
        const PackedTensor* const found = tensors_->find_packed(name);
        return found != nullptr && found->type == "F8_E4M3";
      }
      case WeightScheme::kPlain:
        break;
    }
    return false;
  }

  const std::unique_ptr<SafetensorsTensors> tensors_;
  const Quantisation quantisation_;
  const std::string file_;
};

}  // namespace

std::unique_ptr<TensorSource> read_quantised(std::unique_ptr<SafetensorsTensors> tensors,
                                             Quantisation quantisation, std::string file) {
  return std::make_unique<QuantisedTensors>(std::move(tensors), quantisation, std::move(file));
}

Result<HostWeight> f8_matrix(const SafetensorsTensors& tensors, const Quantisation& quantisation,
                             const std::string& base, int64_t rows, int64_t columns,
                             const std::string& file) {
  SLUICE_ASSIGN(const auto* values, tensors.packed(base + "weight", "F8_E4M3", rows, columns));
  if (columns % facts_of(WeightFormat::kF8).block_weights != 0) {
    return Error{ErrorCode::kUnsupported, "'" + file + "': '" + log::safe(base) + "weight' has rows of " +
                                              std::to_string(columns) +
                                              " FP8 weights; multiples of 8 are served."};
  }
  std::string name = base + "weight_scale";
  if (!tensors.has(name)) name += "_inv";  // where the same is meant: what a value is multiplied by
  SLUICE_ASSIGN(const auto* stored, tensors.stored(name));
  const int64_t count = stored->rows * stored->columns;
  HostWeight weight{
      .bytes = values->bytes.data(), .format = WeightFormat::kF8, .rows = rows, .columns = columns};
  const int64_t block_rows = quantisation.block_rows, block_columns = quantisation.block_columns;
  if (block_rows > 0 && block_columns > 0 && stored->rows == (rows + block_rows - 1) / block_rows &&
      stored->columns == (columns + block_columns - 1) / block_columns) {
    weight.scales = {.rows = block_rows, .columns = block_columns, .across = stored->columns};
  } else if (count == 1) {
    weight.scales = {.rows = rows, .columns = columns};
  } else if (count == rows && (stored->rows == 1 || stored->columns == 1)) {
    weight.scales = {.rows = 1, .columns = columns};
  } else {
    return Error{ErrorCode::kCorrupt,
                 "'" + file + "': the scales '" + log::safe(name) + "' are " + std::to_string(stored->rows) +
                     " x " + std::to_string(stored->columns) + ", which fits no way to scale a weight of " +
                     std::to_string(rows) + " x " + std::to_string(columns) + "."};
  }
  SLUICE_ASSIGN(auto scales, flat_values(*stored, file));
  auto owner = std::make_shared<const std::vector<float>>(std::move(scales));
  weight.scales.values = owner->data();
  weight.file = tensors.file_of(values->bytes);
  weight.owner = std::move(owner);
  return weight;
}

}  // namespace sluice
