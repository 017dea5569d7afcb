// The backend of this machine's processor: packed weights, int8 activations, one thread pool. All calls from
// one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice {

// threads 0: one per physical core this process may use. isa: "auto" or one of `cpu_isas`.
Result<std::unique_ptr<Backend>> make_cpu_backend(int threads, const std::string& isa);

// The instruction sets that this machine can run and the binary knows, plainest first.
std::vector<std::string> cpu_isas();

}  // namespace sluice
