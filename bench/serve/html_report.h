// Runs as one page with pictures: no script, no other file, so that it can be mailed and kept. One run: its
// distributions and how it went; several: curves over the load, or side by side. Pure.
#pragma once

#include <string>
#include <vector>

#include "bench/serve/run_figures.h"

namespace sluice::bench {

struct ReportFrame {
  std::string title;
  std::string subtitle;
  std::string command;                // how to make it again
  std::vector<std::string> findings;  // sentences at the top
};

std::string html_report(const ReportFrame& frame, const std::vector<RunFigures>& runs);

}  // namespace sluice::bench
