// Every operation of the contract in plain fp32, one loop after another: readable, slow, the oracle for all
// other backends. Sums run in double, so that a faster backend is compared with the value, not with another
// rounding of it.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace sluice {

std::unique_ptr<Backend> make_reference_backend();

}  // namespace sluice
