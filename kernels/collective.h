// What ranks that compute one model together tell one another: sums and columns. Each rank has one of these,
// of the same group; the Backend of its device issues the operations (kernels/backend.h).
//
// Promises:
//  - Every rank issues the same operations in the same order, with the same shapes. On a GPU they are
//  enqueued
//    on its backend's stream, else they are done when they return.
//  - The sum's order is that of the ranks, 0 first, whatever arrives when (of NCCL: whatever it chooses for
//    the shape, the same every time); after it all ranks hold the same bits.
//  - No operation waits for ever. A rank that does not come within kLimit, or whoever calls `abort`, makes
//  all
//    the others return an Error; the group is then broken for good, and the process is to end: a lost rank
//    ends all within 30 s.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "kernels/tensor.h"

namespace sluice {

struct DeviceRank {
  int index = 0, count = 1;
};

class Collective {
 public:
  // Longer than any honest difference between ranks that do equal work, also on a machine that is short of
  // cores.
  static constexpr std::chrono::seconds kLimit{20};

  virtual ~Collective() = default;
  virtual DeviceRank rank() const = 0;

  // x[t] = the sum of all ranks' x[t].                              x [T, E]
  virtual Status all_reduce(TensorView x) = 0;
  // out = the ranks' x beside one another, rank 0 first. Widths may differ; x may be its place in out.
  //                                                                x [T, C], out [T, sum of C]
  virtual Status all_gather(TensorView x, TensorView out) = 0;

  // This rank is lost: wakes everyone. Any thread.
  virtual void abort(const std::string& reason) = 0;
};

}  // namespace sluice
