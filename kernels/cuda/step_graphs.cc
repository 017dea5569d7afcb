#include "kernels/cuda/step_graphs.h"

#include "base/check.h"

namespace sluice::cuda {

void StepGraphs::run(Shape shape, const std::function<void()>& issue) {
  if (seen_moves_ != moves_.count || graphs_.size() > kMostShapes) {
    synchronize(stream_);  // a graph may still run
    graphs_.clear();
  }
  seen_moves_ = moves_.count;
  const auto found = graphs_.find(shape);
  if (found == graphs_.end()) {
    issue();
    if (seen_moves_ == moves_.count) graphs_.emplace(shape, nullptr);
    return;
  }
  if (found->second == nullptr) {
    begin_capture(stream_);
    issue();
    found->second = end_capture(stream_);
    SLUICE_CHECK_EQ(seen_moves_, moves_.count);
  }
  found->second->launch(stream_);
}

}  // namespace sluice::cuda
