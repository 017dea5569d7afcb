// When a cache that tells nothing has forgotten what was placed in it: it holds the last `capacity` tokens,
// so what was placed before the moment since which so many came is gone. Sixty-four samples; a value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "router/core/units.h"

namespace sluice::router {

class PlacedHorizon {
 public:
  explicit PlacedHorizon(uint64_t capacity_tokens = 0) : capacity_(capacity_tokens) {}

  void placed(uint64_t tokens, Seconds now) {
    total_ += tokens;
    const uint64_t step = capacity_ / (kSamples - 1) + 1;
    if (count_ > 0 && total_ < samples_[(count_ - 1) % kSamples].total + step) return;
    samples_[count_++ % kSamples] = {now, total_};
  }

  // What was placed before is gone.
  Seconds horizon() const {
    Seconds gone = -kNever;
    for (size_t back = 0; back < kSamples && back < count_; ++back) {
      const Sample& sample = samples_[(count_ - 1 - back) % kSamples];
      if (total_ - sample.total < capacity_) continue;
      gone = sample.at;
      break;
    }
    return gone;
  }

 private:
  static constexpr size_t kSamples = 64;
  struct Sample {
    Seconds at = 0;
    uint64_t total = 0;
  };
  uint64_t capacity_;
  uint64_t total_ = 0;
  size_t count_ = 0;
  std::array<Sample, kSamples> samples_;
};

}  // namespace sluice::router
