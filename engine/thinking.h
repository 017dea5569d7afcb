// Ends a block of thoughts when its budget is used up, by putting the end mark's tokens where the model
// sampled others. Of one sequence; engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// A mark is found by its own tokens: where a model spells it in others it is not seen.
struct ThinkingBudget {
  int tokens = -1;                          // of thoughts; -1: no bound
  bool open = false;                        // the prompt has opened the block
  std::vector<int32_t> begin_ids, end_ids;  // the marks
};

class Thinking {
 public:
  // The token that follows `output`: `sampled`, or one of the end mark's.
  int32_t next(const ThinkingBudget& budget, std::span<const int32_t> output, int32_t sampled);

 private:
  enum class State : uint8_t { kBefore, kWithin, kForcing, kAfter };
  State state_ = State::kBefore;
  int tokens_ = 0;     // of thoughts, so far
  size_t forced_ = 0;  // of end_ids
};

}  // namespace sluice
