// Products of many tokens with E4M3 weights: the tokens become E4M3 too, each with its own scale, and a
// library multiplies. Owns the room for them. One thread.
#pragma once

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/device_memory.h"

namespace sluice::cuda {

class Fp8Products {
 public:
  explicit Fp8Products(MemoryMoves& moves) : values_(moves), scales_(moves) {}

  // False where the library cannot: nothing was written then.
  bool multiply(DenseLibrary& library, const Fp8Matrix& w, Rows x, const MatmulOut& out, Stream stream);

 private:
  Scratch values_, scales_;
  bool possible_ = true;
};

}  // namespace sluice::cuda
