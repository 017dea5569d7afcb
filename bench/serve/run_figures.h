// What a finished run is to those who draw or compare it, whether it was measured just now or lies in a file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/serve/experiment.h"

namespace sluice::bench {

struct RunFigures {
  std::string label;  // its own, and the point's
  std::string point;  // what was varied: "8 req/s"
  std::string model, server, dataset, date;
  double rate_rps = kUnlimited;
  double concurrency = 0;  // 0: without a bound
  double completed = 0, failed = 0, requests = 0;
  std::map<std::string, double> figures;                 // by the names of the JSON
  std::map<std::string, double> standard_errors;         // of some of them
  std::map<std::string, std::vector<double>> curves_ms;  // ttft, tpot, itl, e2el: equally spaced percentiles
  std::vector<TimelinePoint> timeline;
  std::vector<Remark> remarks;

  double figure(const std::string& name) const;  // NaN where there is none
};

// Of a file that `sluice bench serve` wrote, or `vllm bench serve` (without noise and curves then).
// kCorrupt names the file.
Result<std::vector<RunFigures>> parse_result_file(std::string_view text, const std::string& name);

}  // namespace sluice::bench
