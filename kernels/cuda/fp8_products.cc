#include "kernels/cuda/fp8_products.h"

#include "kernels/cuda/gpu_types.h"

namespace sluice::cuda {

bool Fp8Products::multiply(DenseLibrary& library, const Fp8Matrix& w, Rows x, const MatmulOut& out,
                           Stream stream) {
  constexpr int kUnit = 16;  // of both sides, as the matrix units load them
  if (!possible_ || w.groups > 1 || w.outputs % kUnit != 0 || w.inputs % kUnit != 0) return false;
  const auto tokens = static_cast<size_t>(x.rows);
  const Fp8Rows quantised{values_.of<fp8>(tokens * static_cast<size_t>(w.inputs), stream),
                          scales_.of<float>(tokens, stream), x.rows, w.inputs};
  quantise(x, quantised, stream);
  switch (library.multiply(w, quantised, out, stream)) {
    case Fp8Done::kNot:
      possible_ = false;  // it is the GPU that has no such products, not this shape
      return false;
    case Fp8Done::kProducts:
      scale_products(out, x.rows, w.outputs, quantised.scales, w.scales, stream);
      return true;
    case Fp8Done::kScaled:
      if (out.bias != nullptr) add_bias(out, x.rows, w.outputs, stream);
      return true;
  }
  return false;
}

}  // namespace sluice::cuda
