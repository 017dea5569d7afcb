// Which of the compiled instruction sets this machine can run.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/cpu/kernel_table.h"

namespace sluice::cpu {

// "auto" or a name of `runnable_isas`; kUnsupported with what is possible.
Result<const KernelTable*> choose_kernels(const std::string& isa);

// From the plainest to the best.
std::vector<std::string> runnable_isas();

}  // namespace sluice::cpu
