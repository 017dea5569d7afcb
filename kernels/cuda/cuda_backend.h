// The backend of one NVIDIA GPU, or of the emulated one (kernels/cuda/emulation). Activations are bf16. All
// calls from one thread; work is enqueued on one stream, and only `finish_sample`, `synchronize`,
// `copy_to_host` and loading wait for it.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice::cuda {

struct CudaBackendOptions {
  int device = 0;
  // A row's bits depend on no other row: fixed splits of attention, one kernel for products of any height.
  // Else they may differ in the last places with the company a row is computed in.
  bool deterministic = false;
  bool graphs = true;  // record decoding steps, and run them as one
};

// kUnsupported for a GPU older than compute capability 8.0, kUnavailable when there is none.
Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaBackendOptions& options);

// Makes one group of them by NCCL, in the order of the ranks. All were made by make_cuda_backend.
Status join_by_nccl(std::span<const std::unique_ptr<Backend>> backends);

}  // namespace sluice::cuda
