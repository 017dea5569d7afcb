#include "models/online_quantisation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/parallel.h"

namespace sluice {
namespace {

constexpr int kUnit = 16;  // rows of E4M3 that every device takes are multiples of it

struct Rounded {
  std::vector<std::byte> values;
  std::vector<float> scales;  // of each row
};

void round_rows(const HostWeight& from, int64_t first, int64_t last, Rounded& to) {
  std::vector<float> row(static_cast<size_t>(from.columns));
  for (int64_t r = first; r < last; ++r) {
    dequantize_row(from, r, row.data());
    float largest = 0;
    for (const float w : row) largest = std::max(largest, std::fabs(w));
    const float factor = largest > 0 ? kLargestF8 / largest : 0;
    to.scales[static_cast<size_t>(r)] = largest / kLargestF8;
    std::byte* const values = to.values.data() + r * from.columns;
    for (size_t c = 0; c < row.size(); ++c) values[c] = static_cast<std::byte>(f32_to_f8(row[c] * factor));
  }
}

class RoundedTensors final : public TensorSource {
 public:
  explicit RoundedTensors(std::unique_ptr<TensorSource> tensors) : tensors_(std::move(tensors)) {}

  bool has(std::string_view name) const override { return tensors_->has(name); }
  Result<std::vector<float>> vector(std::string_view name, int64_t length) const override {
    return tensors_->vector(name, length);
  }
  size_t total_bytes() const override { return tensors_->total_bytes(); }
  Result<HostWeight> matrix(std::string_view name, int64_t rows, int64_t columns) const override {
    SLUICE_ASSIGN(HostWeight weight, tensors_->matrix(name, rows, columns));
    if (!is_rounded(weight.format, name, columns)) return weight;
    auto rounded = std::make_shared<Rounded>();
    rounded->values.resize(static_cast<size_t>(rows * columns));
    rounded->scales.resize(static_cast<size_t>(rows));
    in_parallel(rows, [&](int64_t first, int64_t last) { round_rows(weight, first, last, *rounded); });
    HostWeight result{
        .bytes = rounded->values.data(), .format = WeightFormat::kF8, .rows = rows, .columns = columns};
    result.scales = {.values = rounded->scales.data(), .columns = columns};
    result.owner = std::move(rounded);
    return result;
  }

  Result<WeightFormat> format(std::string_view name, int64_t rows, int64_t columns) const override {
    SLUICE_ASSIGN(const WeightFormat plain, tensors_->format(name, rows, columns));
    return is_rounded(plain, name, columns) ? WeightFormat::kF8 : plain;
  }

 private:
  static bool is_rounded(WeightFormat format, std::string_view name, int64_t columns) {
    const bool plain =
        format == WeightFormat::kF32 || format == WeightFormat::kF16 || format == WeightFormat::kBF16;
    return plain && name.ends_with("_proj.weight") && columns % kUnit == 0;
  }

  const std::unique_ptr<TensorSource> tensors_;
};

}  // namespace

std::unique_ptr<TensorSource> round_to_f8(std::unique_ptr<TensorSource> tensors) {
  return std::make_unique<RoundedTensors>(std::move(tensors));
}

Status quantise_as(const std::string& method, ModelFiles& files) {
  constexpr std::string_view kKernel = "_marlin";  // vLLM's words for kernels of its own
  const std::string scheme =
      method.ends_with(kKernel) ? method.substr(0, method.size() - kKernel.size()) : method;
  if (scheme.empty() || scheme == "auto" || scheme == files.quantised_by) return {};
  if (scheme == "fp8" && files.quantised_by.empty()) {
    files.tensors = round_to_f8(std::move(files.tensors));
    return {};
  }
  return invalid_argument("--quantization",
                          "--quantization is '" + method + "', but the weights in '" + files.path + "' are " +
                              (files.quantised_by.empty() ? std::string("not quantised")
                                                          : "quantised by '" + files.quantised_by + "'") +
                              ". Leave it out to take them as they are" +
                              (files.quantised_by.empty() ? ", or set it to fp8." : "."));
}

}  // namespace sluice
