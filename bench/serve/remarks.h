// Judges whether a run's figures mean what they seem to, and says so in words. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bench/serve/summary.h"

namespace sluice::bench {

// To summary.remarks, the gravest first; nothing when all is well.
void add_remarks(Summary& summary, const SummaryOptions& options);

// Of several runs each kind once: with the first run that has it, and how many others do.
std::vector<std::string> grouped(const std::vector<std::pair<std::string, std::vector<Remark>>>& runs);

}  // namespace sluice::bench
