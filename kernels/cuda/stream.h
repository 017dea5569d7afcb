// A queue of work on a device, as the CUDA runtime names it: so that launchers and their callers need no
// header of CUDA. Null: the default queue.
#pragma once

struct CUstream_st;

namespace sluice::cuda {

using Stream = CUstream_st*;

}  // namespace sluice::cuda
