// Products of many tokens with dense weights, in bf16 or both in E4M3, by NVIDIA's cuBLASLt, which the
// machine brings: opened at run time, so that nothing needs it to start. The algorithm for a shape is asked
// for once and kept. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matmul_fp8.h"

namespace sluice::cuda {

enum class Fp8Done : uint8_t {
  kNot,       // the library cannot: nothing was written
  kProducts,  // of the values alone: scales and bias are still to come
  kScaled,    // with the scales of weights and tokens; the bias is still to come
};

class DenseLibrary {
 public:
  virtual ~DenseLibrary() = default;
  // As matmul_tiled, without the bias.
  virtual void multiply(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream) = 0;
  // Weights with one scale a row.
  virtual Fp8Done multiply(const Fp8Matrix& /*w*/, const Fp8Rows& /*x*/, const MatmulOut& /*out*/,
                           Stream /*stream*/) {
    return Fp8Done::kNot;
  }
  virtual std::string name() const = 0;  // "cuBLASLt 13.1"
};

// An Error says what was looked for where.
Result<std::unique_ptr<DenseLibrary>> open_cublaslt();

}  // namespace sluice::cuda
