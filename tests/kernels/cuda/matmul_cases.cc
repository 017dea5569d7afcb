// Matrix multiplications against the reference: every format, one token to more than a block takes, outputs
// and inputs that fill no tile.
#include <fmt/format.h>

#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/matmul.h"
#include "kernels/quant_blocks.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/device_world.h"
#include "tests/kernels/cuda/product_case.h"
#include "tests/kernels/kernel_world.h"

namespace sluice::cuda::testing {
namespace {

using sluice::testing::FileWeight;

// A quantised weight's scale is rounded to f16, and in a dequantised one the product to bf16 as well.
constexpr double kQuantised = 0.008;

enum class Way { kSkinny, kTiled, kTiledThenBias };

std::string dense_case(Way way, int tokens, int outputs, int inputs) {
  const std::vector<float> weights = rounded(random_values(static_cast<size_t>(outputs * inputs), 1, 0.05F));
  const Wanted wanted(tokens, weights, outputs, inputs);
  const DeviceArray<uint16_t> w(as_bf16(weights));
  const DenseMatrix matrix{reinterpret_cast<const bf16*>(w.get()), outputs, inputs};
  // Without the bias in the sum, bf16 is rounded to twice.
  const double tolerance = way == Way::kTiledThenBias ? kBf16 : 1e-5;
  return compare(wanted, tolerance, "a dense product", [&](Rows x, const MatmulOut& out) {
    if (way == Way::kSkinny) return matmul_skinny(matrix, x, out, nullptr);
    MatmulOut without = out;
    without.bias = nullptr;
    if (way == Way::kTiledThenBias) {
      matmul_tiled(matrix, x, without, nullptr);
      return add_bias(out, tokens, outputs, nullptr);
    }
    matmul_tiled(matrix, x, out, nullptr);
  });
}

struct OnDevice {
  explicit OnDevice(const HostWeight& weight)
      : packed(pack_tiles(weight)),
        tiles(packed.tiles),
        row_scales(packed.row_scales),
        matrix{tiles.get(), row_scales.get(), packed.layout, packed.outputs, packed.inputs} {}
  PackedTiles packed;
  DeviceArray<std::byte> tiles;
  DeviceArray<float> row_scales;
  QuantisedMatrix matrix;
};

// A format, or a four-bit one whose zeros are all 8.
struct Kind {
  WeightFormat format;
  bool symmetric = false;
  std::string name() const { return std::string(facts_of(format).name) + (symmetric ? "_symmetric" : ""); }
  FileWeight make(int outputs, int inputs) const {
    FileWeight weight(format, outputs, inputs, 7);
    if (symmetric) weight.set_zeros(8);
    return weight;
  }
  // Scales are rounded to f16, but those of four bits with zeros, which are f16 already.
  double tolerance() const { return format >= WeightFormat::kI4_32 ? 1e-5 : kQuantised; }
};

std::string quantised_case(const Kind& kind, int tokens, int outputs, int inputs) {
  const FileWeight weight = kind.make(outputs, inputs);
  const Wanted wanted(tokens, weight.values(), outputs, inputs);
  const OnDevice device(weight.host);
  DeviceArray<float> sums(static_cast<size_t>(tokens * inputs / 16));
  return compare(wanted, kind.tolerance(), "a quantised product", [&](Rows x, const MatmulOut& out) {
    matmul_skinny(device.matrix, x, sums.get(), out, nullptr);
  });
}

std::string dequantise_case(const Kind& kind, int outputs, int inputs) {
  const FileWeight weight = kind.make(outputs, inputs);
  const std::vector<float> want = weight.values();
  const OnDevice device(weight.host);
  DeviceArray<uint16_t> all(want.size());
  dequantise(device.matrix, reinterpret_cast<bf16*>(all.get()), nullptr);
  const std::vector<int32_t> ids = {outputs - 1, 0, 9};
  const DeviceArray<int32_t> rows(ids);
  DeviceArray<uint16_t> some(ids.size() * static_cast<size_t>(inputs));
  embed(device.matrix, rows.get(), {reinterpret_cast<bf16*>(some.get()), inputs, 3, inputs}, nullptr);
  std::vector<float> want_some;
  for (const int32_t id : ids)
    want_some.insert(want_some.end(), want.begin() + id * inputs, want.begin() + (id + 1) * inputs);
  const std::string wrong = judge("dequantise", relative_error(as_float(all.take()), want), kQuantised);
  return wrong.empty() ? judge("embed", relative_error(as_float(some.take()), want_some), kQuantised) : wrong;
}

// A token's bits are the same whoever is with it.
std::string alone_case(const Kind& kind) {
  const int outputs = 40, inputs = 256, tokens = 13;
  const FileWeight weight = kind.make(outputs, inputs);
  const OnDevice device(weight.host);
  const std::vector<float> x = random_values(static_cast<size_t>(tokens * inputs), 5);
  const DeviceArray<uint16_t> all(as_bf16(x));
  DeviceArray<float> together(static_cast<size_t>(tokens * outputs)), alone(static_cast<size_t>(outputs));
  DeviceArray<float> sums(static_cast<size_t>(tokens * inputs / 16));
  auto* const first = reinterpret_cast<bf16*>(all.get());
  matmul_skinny(device.matrix, {first, inputs, tokens, inputs}, sums.get(),
                {nullptr, together.get(), outputs}, nullptr);
  const std::vector<float> want = together.take();
  for (const int t : {0, 7, 12}) {
    matmul_skinny(device.matrix, {first + t * inputs, inputs, 1, inputs}, sums.get(),
                  {nullptr, alone.get(), outputs}, nullptr);
    const std::vector<float> got = alone.take();
    if (!std::equal(got.begin(), got.end(), want.begin() + t * outputs))
      return "a token's bits depend on others";
  }
  return "";
}

}  // namespace

void add_matmul_cases(std::vector<Case>& cases) {
  for (const int tokens : {1, 8, 9, 16}) {
    for (const auto& [outputs, inputs] : {std::pair(16, 8), std::pair(33, 72), std::pair(48, 1032)}) {
      cases.push_back({fmt::format("skinny_{}x{}x{}", tokens, outputs, inputs),
                       [=] { return dense_case(Way::kSkinny, tokens, outputs, inputs); }});
    }
  }
  for (const int tokens : {1, 17, 129}) {
    for (const auto& [outputs, inputs] : {std::pair(8, 8), std::pair(136, 168)}) {
      cases.push_back({fmt::format("tiled_{}x{}x{}", tokens, outputs, inputs),
                       [=] { return dense_case(Way::kTiled, tokens, outputs, inputs); }});
      cases.push_back({fmt::format("tiled_then_bias_{}x{}x{}", tokens, outputs, inputs),
                       [=] { return dense_case(Way::kTiledThenBias, tokens, outputs, inputs); }});
    }
  }
  std::vector<Kind> kinds = {{WeightFormat::kI4_32, true}, {WeightFormat::kI4_64, true}};
  for (const WeightFormat format : sluice::testing::kAllFormats) {
    if (format >= WeightFormat::kQ4_0 && format != WeightFormat::kF8) kinds.push_back({format});
  }
  for (const Kind& kind : kinds) {
    const bool halves = facts_of(kind.format).block_weights == 32;  // then the last tile may be half empty
    for (const int tokens : {1, 11}) {
      cases.push_back({fmt::format("{}_{}", kind.name(), tokens),
                       [=] { return quantised_case(kind, tokens, 41, halves ? 608 : 768); }});
    }
    cases.push_back(
        {kind.name() + "_dequantised", [=] { return dequantise_case(kind, 41, halves ? 96 : 256); }});
    cases.push_back({kind.name() + "_alone", [=] { return alone_case(kind); }});
  }
}

}  // namespace sluice::cuda::testing
