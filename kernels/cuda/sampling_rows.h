// Packs what a step asks of its samples for the device: one run of bytes, so that one copy brings it there.
// Owns no memory: the caller gives pinned memory to write into and knows where it goes on the device.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/sampling.h"

namespace sluice::cuda {

class PackedSampling {
 public:
  // Measures. `rows` and what they point to must outlive this. `vocabulary`: V.
  PackedSampling(std::span<const SamplingRow> rows, int vocabulary);

  size_t bytes() const { return words_ * sizeof(uint32_t); }
  size_t listed() const { return listed_; }  // raw logits to keep, for sampling_scratch_bytes
  bool draws() const { return draws_; }      // a row is neither greedy nor given
  // `to`: bytes() at least, 16-byte aligned.
  void write(std::span<std::byte> to) const;

 private:
  std::span<const SamplingRow> rows_;
  size_t mask_words_;  // of one row
  size_t words_ = 0;
  size_t listed_ = 0;
  bool draws_ = false;
};

// What the device found of the row that asked, as the engine takes it.
void unpack(const SampledRow& sampled, const SamplingRow& row, SampledToken& out);

}  // namespace sluice::cuda
