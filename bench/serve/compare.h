// Two runs' figures side by side: which differences are more than chance. Pure.
#pragma once

#include <string>
#include <vector>

#include "bench/serve/run_figures.h"

namespace sluice::bench {

struct CompareOptions {
  double least_change = 0.02;           // relative; what is smaller matters to nobody
  double least_change_unproved = 0.10;  // where a file does not tell its noise
  double sigmas = 3;                    // a difference of so many standard errors is none of chance
};

enum class Verdict : uint8_t { kSame, kBetter, kWorse };

struct Change {
  std::string name;  // as in the JSON; "failed_share" beside those
  double before = 0, after = 0;
  double noise = kNever;  // standard error of the difference; NaN: not known
  Verdict verdict = Verdict::kSame;
};

struct PairOfRuns {
  RunFigures before, after;
  std::vector<Change> changes;
};

struct Comparison {
  std::vector<PairOfRuns> pairs;
  std::vector<std::string> unmatched;  // points of one file alone, in words
  bool any_worse() const;
};

std::vector<Change> compare_runs(const RunFigures& before, const RunFigures& after,
                                 const CompareOptions& options);
// Points of equal name; single ones whatever their names. kInvalidArgument when none belong together.
Result<Comparison> compare_files(const std::vector<RunFigures>& before, const std::vector<RunFigures>& after,
                                 const CompareOptions& options);
std::string table_of(const Comparison& comparison);

}  // namespace sluice::bench
