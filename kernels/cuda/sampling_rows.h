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
  // Measures. All that is passed and pointed to must outlive this. `vocabulary`: V. `latest`, for a step that
  // is packed while the one before it still runs: for each row where Sampling::latest_ids has its newest
  // output token, or -1; empty: none has.
  PackedSampling(std::span<const SamplingRow> rows, int vocabulary, std::span<const int32_t> latest = {});

  size_t bytes() const { return words_ * sizeof(uint32_t); }
  size_t listed() const { return listed_; }  // raw logits to keep, for sampling_scratch_bytes
  bool draws() const { return draws_; }      // a row is neither greedy nor given
  // `to`: bytes() at least, 16-byte aligned.
  void write(std::span<std::byte> to) const;

 private:
  // Where the row's penalties need it; else -1.
  int32_t latest_of(size_t row) const;
  // Raw logits to keep: where they are asked for and overwritten.
  size_t listed_of(size_t row) const;

  std::span<const SamplingRow> rows_;
  std::span<const int32_t> latest_;
  size_t mask_words_;  // of one row
  size_t words_ = 0;
  size_t listed_ = 0;
  bool draws_ = false;
};

// What the device found of the row that asked, as the engine takes it.
void unpack(const SampledRow& sampled, const SamplingRow& row, SampledToken& out);

}  // namespace sluice::cuda
