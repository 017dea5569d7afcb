// The collective of ranks that are threads of one process and compute in its memory: they read one another's
// activations where they lie. Two meetings an operation, no copy beside the result, no allocation.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "kernels/collective.h"

namespace sluice {

// One for each rank. `limit`: how long an operation waits for the others.
std::vector<std::unique_ptr<Collective>> make_shared_memory_collectives(
    int ranks, std::chrono::nanoseconds limit = Collective::kLimit);

}  // namespace sluice
