// Judges whether a run's figures mean what they seem to, and says so in words. Pure.
#pragma once

#include "bench/serve/summary.h"

namespace sluice::bench {

// To summary.remarks, the gravest first; nothing when all is well.
void add_remarks(Summary& summary, const SummaryOptions& options);

}  // namespace sluice::bench
