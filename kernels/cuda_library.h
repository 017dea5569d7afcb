// The CUDA backend as a library of its own beside the program (libsluice_cuda.so), opened at run time: so
// that one program starts with and without CUDA. Any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/runtime.h"

namespace sluice {

class CudaLibrary {
 public:
  // kUnavailable when it is not there, cannot be opened, or belongs to another build. It stays open.
  static Result<CudaLibrary> open();

  // Empty where there is no GPU or no driver; then `why` says so.
  std::vector<cuda::DeviceProperties> devices(std::string& why) const { return find_devices_(why); }
  Result<std::unique_ptr<Backend>> make_backend(const cuda::CudaBackendOptions& options) const {
    return make_backend_(options);
  }
  // Makes one group of backends that were made here; rank 0 first.
  Status join(std::span<const std::unique_ptr<Backend>> backends) const { return join_(backends); }

 private:
  decltype(&cuda::find_devices) find_devices_ = nullptr;
  decltype(&cuda::make_cuda_backend) make_backend_ = nullptr;
  decltype(&cuda::join_by_nccl) join_ = nullptr;
};

}  // namespace sluice
