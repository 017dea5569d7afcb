#include "kernels/cuda/library_face.h"

extern "C" {
extern __attribute__((visibility("default"))) const sluice::cuda::LibraryFace sluice_cuda_library;
const sluice::cuda::LibraryFace sluice_cuda_library = {
    sluice::cuda::kLibraryBuild, &sluice::cuda::find_devices, &sluice::cuda::make_cuda_backend,
    &sluice::cuda::join_by_nccl};
}
