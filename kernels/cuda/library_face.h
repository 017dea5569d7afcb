// What the CUDA backend's library shows to the program that opens it: one object by this name. Both sides are
// one build, of one compiler; `build` says whether they are.
#pragma once

#include <string_view>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {

inline constexpr const char* kLibraryFaceName = "sluice_cuda_library";
// Of the contract between the two: to be raised when kernels/backend.h or what it uses changes.
inline constexpr std::string_view kLibraryBuild = "2 " __VERSION__;

struct LibraryFace {
  std::string_view build = kLibraryBuild;
  decltype(&cuda::find_devices) find_devices = nullptr;
  decltype(&cuda::make_cuda_backend) make_backend = nullptr;
  decltype(&cuda::join_by_nccl) join = nullptr;
};

}  // namespace sluice::cuda
