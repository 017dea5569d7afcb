// Dense products of many tokens by NVIDIA's cuBLASLt, which the machine brings: opened at run time, so that
// nothing needs it to start. The algorithm for a shape is asked for once and kept. One thread.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/cuda/matmul.h"

namespace sluice::cuda {

class DenseLibrary {
 public:
  virtual ~DenseLibrary() = default;
  // As matmul_tiled.
  virtual void multiply(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream) = 0;
  virtual std::string name() const = 0;  // "cuBLASLt 13.1"
};

// An Error says what was looked for where.
Result<std::unique_ptr<DenseLibrary>> open_cublaslt();

}  // namespace sluice::cuda
