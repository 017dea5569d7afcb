// One row of logits to one token, step by step in the contract's order; full sorts, doubles.
#pragma once

#include <span>

#include "kernels/backend.h"

namespace sluice::reference {

SampledToken sample_row(std::span<const float> logits, const SamplingRow& row);

}  // namespace sluice::reference
