// The emulated device's queues: work runs when it is enqueued, or is written down while a graph is captured.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "kernels/cuda/stream.h"

struct CUstream_st {
  bool capturing = false;
  std::vector<std::function<void()>> captured;
};

namespace sluice::cuda::emulation {

inline void enqueue(Stream stream, std::function<void()> work) {
  if (stream != nullptr && stream->capturing)
    stream->captured.push_back(std::move(work));
  else
    work();
}

}  // namespace sluice::cuda::emulation
