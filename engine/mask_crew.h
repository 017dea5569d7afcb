// Computes the masks of a step's constrained sequences beside its forward pass. A few threads, asleep between
// steps; the engine's thread helps with what is left when it needs the masks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/sequence.h"

namespace sluice {

class MaskCrew {
 public:
  MaskCrew() = default;
  ~MaskCrew();
  MaskCrew(const MaskCrew&) = delete;
  MaskCrew& operator=(const MaskCrew&) = delete;

  // Engine thread. Tells each sequence's constraint its new tokens, then fills its allowed_mask; sets
  // constraint_failed where that cannot be. The sequences stay as they are until wait() has returned. `eos`:
  // what is left to a sequence whose constraint failed. The first call starts the threads.
  void start(const std::vector<Sequence*>& sequences, const std::vector<int32_t>& eos);
  // Engine thread. Until all are filled. Does nothing when there is nothing to wait for.
  void wait();

 private:
  void work();
  bool take_one();

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable arrived_, done_changed_;
  uint64_t round_ = 0;  // under mutex_, like closed_
  bool closed_ = false;
  std::vector<Sequence*> sequences_;  // written between rounds only
  const std::vector<int32_t>* eos_ = nullptr;
  std::atomic<size_t> next_{0};
  std::atomic<size_t> left_{0};
  std::atomic<int> busy_{0};  // threads that may still look at sequences_
};

}  // namespace sluice
