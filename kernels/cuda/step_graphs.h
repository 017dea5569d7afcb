// Steps that were recorded: one graph for each shape of decoding batch. A shape's first step is issued as it
// is, so that whatever grows has grown, its second is recorded, later ones run what was recorded. Who has
// moved memory in between (MemoryMoves) begins again. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {

class StepGraphs {
 public:
  StepGraphs(const MemoryMoves& moves, Stream stream) : moves_(moves), stream_(stream) {}

  // Rows, and entries of a row of the block table.
  using Shape = std::pair<int64_t, int64_t>;

  // Runs what `issue` enqueues, now or when the shape was recorded.
  void run(Shape shape, const std::function<void()>& issue);

 private:
  static constexpr size_t kMostShapes = 512;

  const MemoryMoves& moves_;
  const Stream stream_;
  uint64_t seen_moves_ = 0;
  std::map<Shape, std::unique_ptr<Graph>> graphs_;  // null: was issued once
};

}  // namespace sluice::cuda
