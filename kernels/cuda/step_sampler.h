// Sampling for the backend: sends what the rows ask for, runs the kernels, brings the tokens to the host
// while the next step already runs. Keeps the ids on the device, where that step finds its inputs. One
// thread.
#pragma once

#include <array>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

class StepSampler {
 public:
  static constexpr size_t kInFlight = 2;

  StepSampler(MemoryMoves& moves, Stream stream);
  ~StepSampler();
  StepSampler(const StepSampler&) = delete;
  StepSampler& operator=(const StepSampler&) = delete;

  // As Backend has them.
  void sample(TensorView logits, std::span<const SamplingRow> rows, std::span<SampledToken> out);
  void finish();
  // Waits for the step that `finish` is about, no longer than `limit`; false when it is not done by then.
  bool done_within(std::chrono::nanoseconds limit) { return wait_for(flight(finished_).done, limit); }

  // Of the rows sampled last, on the device; null before there were any.
  const int32_t* latest_ids() const { return latest_ids_; }

 private:
  struct Flight {
    Event done = nullptr;
    Pinned results;  // SampledRow [rows]
    std::span<const SamplingRow> rows;
    std::span<SampledToken> out;
  };
  Flight& flight(size_t number) { return flights_[number % kInFlight]; }

  const Stream stream_;
  StepArrays asked_;
  Scratch scratch_, ids_, sampled_;
  const int32_t* latest_ids_ = nullptr;
  std::array<Flight, kInFlight> flights_;
  size_t started_ = 0, finished_ = 0;
};

}  // namespace sluice::cuda
