// A product as the cases of matrix multiplications have it: seeded tokens, what the reference makes of them,
// and the comparison of results in bf16 and f32. Included after cases.h.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/matmul.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda::testing {

inline constexpr double kBf16 = 0.006;

inline TensorView view_of(std::vector<float>& values, int64_t rows, int64_t columns) {
  return TensorView::of(values.data(), DType::kF32, rows, columns);
}

struct Wanted {
  std::vector<float> x, bias, out;
  int tokens, inputs, outputs;

  Wanted(int token_count, const std::vector<float>& weights, int output_count, int input_count)
      : x(rounded(random_values(static_cast<size_t>(token_count * input_count), 3))),
        bias(random_values(static_cast<size_t>(output_count), 4)),
        out(static_cast<size_t>(token_count * output_count)),
        tokens(token_count),
        inputs(input_count),
        outputs(output_count) {
    reference::matmul(weights.data(), outputs, inputs, view_of(x, tokens, inputs), bias.data(),
                      view_of(out, tokens, outputs));
  }
};

// Tokens lie further apart than they are wide, and what lies between must not count.
struct SpreadTokens {
  explicit SpreadTokens(const Wanted& wanted)
      : stride(wanted.inputs + 24), bits(static_cast<size_t>(wanted.tokens * stride), 0x7fc0) {
    for (int t = 0; t < wanted.tokens; ++t) {
      for (int i = 0; i < wanted.inputs; ++i) {
        bits[static_cast<size_t>(t * stride + i)] =
            f32_to_bf16(wanted.x[static_cast<size_t>(t * wanted.inputs + i)]);
      }
    }
  }
  int stride;
  std::vector<uint16_t> bits;  // not-a-numbers between
};

template <class Run>  // (Rows x, const MatmulOut& out)
std::string compare(const Wanted& wanted, double tolerance, const std::string& what, const Run& run) {
  const SpreadTokens spread(wanted);
  const DeviceArray<uint16_t> x(spread.bits);
  const DeviceArray<float> bias(wanted.bias);
  DeviceArray<uint16_t> out(wanted.out.size());
  DeviceArray<float> out_f32(wanted.out.size());
  const Rows rows{reinterpret_cast<bf16*>(x.get()), spread.stride, wanted.tokens, wanted.inputs};
  run(rows, MatmulOut{reinterpret_cast<bf16*>(out.get()), nullptr, wanted.outputs, bias.get()});
  run(rows, MatmulOut{nullptr, out_f32.get(), wanted.outputs, bias.get()});
  const std::string wrong = judge(what, relative_error(as_float(out.take()), wanted.out), tolerance + kBf16);
  return wrong.empty() ? judge(what + " to f32", relative_error(out_f32.take(), wanted.out), tolerance)
                       : wrong;
}

}  // namespace sluice::cuda::testing
