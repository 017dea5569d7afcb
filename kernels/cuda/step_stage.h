// Brings a step's batch to the device in one copy. A decoding batch may be padded with sequences of one token
// that read and store nothing, so that batches of like sizes have one shape, and one graph. One thread.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

class StepStage {
 public:
  StepStage(MemoryMoves& moves, Stream stream) : stream_(stream), arrays_(moves) {}

  // `rows`: 0, or to so many tokens a decoding batch is padded. `latest_ids`: on the device, what token ids
  // below 0 name. What comes back names arrays on the device; those that only the host reads stay as they
  // were.
  const StepBatch& stage(const StepBatch& batch, int64_t rows, const int32_t* latest_ids);

 private:
  const Stream stream_;
  StepArrays arrays_;
  StepBatch staged_;
};

// One new token of each sequence, all sampled, and nothing else asked.
bool decodes_only(const StepBatch& batch);
// What a decoding batch of so many sequences is padded to: the next of 1, 2, 4, 8, 16, 24, 32 … 256, 288 …;
// at most `most`; 0 where there is none.
int64_t padded_rows(int64_t sequences, int64_t most);

}  // namespace sluice::cuda
