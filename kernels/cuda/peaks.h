// What the device can do at most, measured: for benchmarks to tell shares of.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

// Copies of 256 MiB, read and written; products of 8192 x 8192 in bf16 by `library`, or by our own kernel
// when there is none. The best of several; half a second. Zeros when there is no memory for it.
DevicePeaks measure_peaks(DenseLibrary* library, Stream stream);

}  // namespace sluice::cuda
