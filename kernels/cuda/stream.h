// A queue of work on a device, and a mark in it, as the CUDA runtime names them: so that launchers and their
// callers need no header of CUDA. A null stream: the default queue.
#pragma once

struct CUstream_st;
struct CUevent_st;

namespace sluice::cuda {

using Stream = CUstream_st*;
using Event = CUevent_st*;

}  // namespace sluice::cuda
