// The collective of GPUs by NVIDIA's NCCL, which the machine brings: opened at run time, so that nothing
// needs it to start. What it does is enqueued on the rank's stream, and may be recorded with the rest of a
// step.
#pragma once

#include <array>
#include <memory>

#include "base/result.h"
#include "kernels/collective.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

// Names a group: made by one rank, told to all.
using NcclId = std::array<char, 128>;

// An Error says what was looked for where.
Result<NcclId> make_nccl_id();

// Returns when every rank has called this, each on a thread of its own whose device is in use. The operations
// take contiguous bf16 rows to sum, rows of any type and stride to gather.
Result<std::unique_ptr<Collective>> make_nccl_collective(const NcclId& id, DeviceRank rank, Stream stream,
                                                         MemoryMoves& moves);

}  // namespace sluice::cuda
