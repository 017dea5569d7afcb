// Weights in E4M3 against the reference: scales by rows and by blocks, and the way of many tokens through a
// library, whose product is computed here on the host.
#include <fmt/format.h>

#include <cstring>

#include "kernels/cuda/fp8_products.h"
#include "kernels/cuda/matmul_fp8.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/product_case.h"
#include "tests/kernels/kernel_world.h"

namespace sluice::cuda::testing {
namespace {

using sluice::testing::FileWeight;

FileWeight make_weight(int outputs, int inputs, bool blocks) {
  FileWeight weight(WeightFormat::kF8, outputs, inputs, 7);
  if (blocks) weight.scale_blocks(16, kFp8ScaleInputs, 9);
  return weight;
}

struct OnDevice {
  explicit OnDevice(const FileWeight& weight)
      : values(as_fp8(weight)),
        scales(expanded(weight)),
        matrix{values.get(), scales.get(), static_cast<int>(weight.host.rows),
               static_cast<int>(weight.host.columns), groups_of(weight)} {}
  static int groups_of(const FileWeight& weight) {
    return weight.host.scales.across == 1
               ? 1
               : static_cast<int>((weight.host.columns + kFp8ScaleInputs - 1) / kFp8ScaleInputs);
  }
  static std::vector<fp8> as_fp8(const FileWeight& weight) {
    std::vector<fp8> values(weight.bytes.size());
    std::memcpy(values.data(), weight.bytes.data(), values.size());
    return values;
  }
  static std::vector<float> expanded(const FileWeight& weight) {
    std::vector<float> scales;
    for (int64_t r = 0; r < weight.host.rows; ++r) {
      for (int g = 0; g < groups_of(weight); ++g)
        scales.push_back(weight.host.scales.at(r, int64_t{g} * kFp8ScaleInputs));
    }
    return scales;
  }
  DeviceArray<fp8> values;
  DeviceArray<float> scales;
  Fp8Matrix matrix;
};

std::string skinny_case(int tokens, int outputs, int inputs, bool blocks) {
  const FileWeight weight = make_weight(outputs, inputs, blocks);
  const Wanted wanted(tokens, weight.values(), outputs, inputs);
  const OnDevice device(weight);
  return compare(wanted, 1e-5, "a product with E4M3",
                 [&](Rows x, const MatmulOut& out) { matmul_skinny(device.matrix, x, out, nullptr); });
}

// Every number there is, and rows picked out.
std::string rows_case(bool blocks) {
  const int outputs = 20, inputs = 272;
  FileWeight weight = make_weight(outputs, inputs, blocks);
  for (int i = 0; i < 256; ++i)
    if ((i & 0x7f) != 0x7f) weight.bytes[static_cast<size_t>(i)] = static_cast<std::byte>(i);
  const std::vector<float> want = weight.values();
  const OnDevice device(weight);
  DeviceArray<uint16_t> all(want.size());
  dequantise(device.matrix, reinterpret_cast<bf16*>(all.get()), nullptr);
  const std::vector<int32_t> ids = {outputs - 1, 0, 9};
  const DeviceArray<int32_t> rows(ids);
  DeviceArray<uint16_t> some(ids.size() * static_cast<size_t>(inputs));
  embed(device.matrix, rows.get(), {reinterpret_cast<bf16*>(some.get()), inputs, 3, inputs}, nullptr);
  if (all.take() != as_bf16(want)) return "a row is not what it stands for, rounded once";
  std::vector<float> want_some;
  for (const int32_t id : ids)
    want_some.insert(want_some.end(), want.begin() + id * inputs, want.begin() + (id + 1) * inputs);
  return some.take() == as_bf16(want_some) ? "" : "other rows were picked out";
}

// A library on the host, slow and exact.
class HostLibrary final : public DenseLibrary {
 public:
  explicit HostLibrary(Fp8Done done) : done_(done) {}
  std::string name() const override { return "the host"; }
  void multiply(const DenseMatrix&, Rows, const MatmulOut&, Stream) override {}
  Fp8Done multiply(const Fp8Matrix& w, const Fp8Rows& x, const MatmulOut& out, Stream stream) override {
    if (done_ == Fp8Done::kNot) return done_;
    const auto values = take(w.values, w.outputs * w.inputs, stream),
               tokens = take(x.values, x.rows * x.columns, stream);
    const auto output_scales = take(w.scales, w.outputs, stream),
               token_scales = take(x.scales, x.rows, stream);
    for (int t = 0; t < x.rows; ++t) {
      std::vector<float> sums;
      for (int o = 0; o < w.outputs; ++o) {
        double sum = 0;
        for (int i = 0; i < w.inputs; ++i) {
          sum += static_cast<double>(f8_to_f32(values[static_cast<size_t>(o * w.inputs + i)].bits)) *
                 f8_to_f32(tokens[static_cast<size_t>(t * w.inputs + i)].bits);
        }
        if (done_ == Fp8Done::kScaled)
          sum *= static_cast<double>(output_scales[static_cast<size_t>(o)]) *
                 token_scales[static_cast<size_t>(t)];
        sums.push_back(static_cast<float>(sum));
      }
      const std::vector<uint16_t> halves = as_bf16(sums);
      if (out.rows != nullptr)
        copy_to_device(out.rows + t * out.stride, halves.data(), halves.size() * 2, stream);
      else
        copy_to_device(out.rows_f32 + t * out.stride, sums.data(), sums.size() * 4, stream);
      synchronize(stream);
    }
    return done_;
  }

 private:
  template <class T>
  static std::vector<T> take(const T* from, int count, Stream stream) {
    std::vector<T> values(static_cast<size_t>(count));
    copy_to_host(values.data(), from, values.size() * sizeof(T), stream);
    synchronize(stream);
    return values;
  }
  const Fp8Done done_;
};

std::string library_case(Fp8Done done) {
  const int tokens = 9, outputs = 32, inputs = 528;
  const FileWeight weight = make_weight(outputs, inputs, false);
  Wanted wanted(tokens, weight.values(), outputs, inputs);
  std::fill_n(wanted.x.begin() + inputs, inputs, 0.0F);  // a token of nothing
  std::fill_n(wanted.out.begin() + outputs, outputs, 0.0F);
  std::copy(wanted.bias.begin(), wanted.bias.end(), wanted.out.begin() + outputs);
  const OnDevice device(weight);
  HostLibrary library(done);
  MemoryMoves moves;
  Fp8Products products(moves);
  bool refused = false;
  // Tokens are rounded to three bits of mantissa: 1/32 of each at most, less in the sum.
  const std::string wrong = compare(wanted, 0.12, "a product of two E4M3", [&](Rows x, const MatmulOut& out) {
    refused = refused || !products.multiply(library, device.matrix, x, out, nullptr);
  });
  if (done == Fp8Done::kNot) return refused ? "" : "what a library cannot was taken for done";
  return refused ? "the library was not asked" : wrong;
}

// What is stored is the nearest E4M3 to each value over its token's scale.
std::string quantise_case(int columns) {
  const int tokens = 3, stride = columns + 8;
  std::vector<float> x = rounded(random_values(static_cast<size_t>(tokens * stride), 3, 4));
  for (int i = 0; i < columns; ++i) x[static_cast<size_t>(stride + i)] = 0;  // the second token
  for (int t = 0; t < tokens; ++t) {  // what stands between tokens is large, and not theirs
    for (int i = columns; i < stride; ++i) x[static_cast<size_t>(t * stride + i)] = 1e4F;
  }
  x[static_cast<size_t>(2 * stride + columns - 1)] = -1000;  // the largest is the last
  const DeviceArray<uint16_t> from(as_bf16(x));
  DeviceArray<fp8> values(static_cast<size_t>(tokens * columns));
  DeviceArray<float> scales(tokens);
  quantise({reinterpret_cast<bf16*>(from.get()), stride, tokens, columns},
           {values.get(), scales.get(), tokens, columns}, nullptr);
  const auto got = values.take();
  const auto got_scales = scales.take();
  for (int t = 0; t < tokens; ++t) {
    float largest = 0;
    for (int i = 0; i < columns; ++i)
      largest = std::max(largest, std::fabs(rounded(x)[static_cast<size_t>(t * stride + i)]));
    if (std::fabs(got_scales[static_cast<size_t>(t)] - largest / kLargestFp8) > 1e-6F * largest)
      return fmt::format("token {} has the scale {}", t, got_scales[static_cast<size_t>(t)]);
    const float factor = largest > 0 ? kLargestFp8 / largest : 0;
    for (int i = 0; i < columns; ++i) {
      if (got[static_cast<size_t>(t * columns + i)].bits !=
          f32_to_f8(rounded(x)[static_cast<size_t>(t * stride + i)] * factor))
        return fmt::format("value {} of token {} is another", i, t);
    }
  }
  return "";
}

std::string reorder_case(int columns) {
  const int tokens = 3, stride = columns + 8;
  const std::vector<uint16_t> x = as_bf16(random_values(static_cast<size_t>(tokens * stride), 3));
  FileWeight weight(WeightFormat::kBF16, 1, columns, 1);
  weight.shuffle_inputs(5);
  const DeviceArray<uint16_t> from(x);
  const DeviceArray<int32_t> order(weight.input_order);
  DeviceArray<uint16_t> out(static_cast<size_t>(tokens * columns));
  reorder({reinterpret_cast<bf16*>(from.get()), stride, tokens, columns}, order.get(),
          {reinterpret_cast<bf16*>(out.get()), columns, tokens, columns}, nullptr);
  const auto got = out.take();
  for (int t = 0; t < tokens; ++t) {
    for (int c = 0; c < columns; ++c) {
      if (got[static_cast<size_t>(t * columns + c)] !=
          x[static_cast<size_t>(t * stride + weight.input_order[static_cast<size_t>(c)])])
        return fmt::format("column {} of token {} is another's", c, t);
    }
  }
  return "";
}

}  // namespace

void add_fp8_cases(std::vector<Case>& cases) {
  for (const bool blocks : {false, true}) {
    const char* const scales = blocks ? "blocks" : "rows";
    for (const int tokens : {1, 8, 11, 19}) {
      for (const auto& [outputs, inputs] : {std::pair(16, 16), std::pair(33, 144), std::pair(41, 1040)}) {
        cases.push_back({fmt::format("fp8_by_{}_{}x{}x{}", scales, tokens, outputs, inputs),
                         [=] { return skinny_case(tokens, outputs, inputs, blocks); }});
      }
    }
    cases.push_back({fmt::format("fp8_rows_by_{}", scales), [=] { return rows_case(blocks); }});
  }
  cases.push_back({"fp8_library_scales", [] { return library_case(Fp8Done::kScaled); }});
  cases.push_back({"fp8_library_products", [] { return library_case(Fp8Done::kProducts); }});
  cases.push_back({"fp8_library_cannot", [] { return library_case(Fp8Done::kNot); }});
  for (const int columns : {16, 528, 4112})
    cases.push_back({fmt::format("quantise_{}", columns), [=] { return quantise_case(columns); }});
  for (const int columns : {8, 136, 2056})
    cases.push_back({fmt::format("reorder_{}", columns), [=] { return reorder_case(columns); }});
}

}  // namespace sluice::cuda::testing
