// `sluice bench compare A.json B.json`: what changed from one result of `sluice bench serve` to another. Exit
// codes: 0 nothing became worse beyond noise; 1 something did; 2 flags or files that are wrong.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "bench/serve/compare.h"
#include "bench/serve/html_report.h"

namespace {

using namespace sluice;
using namespace sluice::bench;

struct CompareFlags {
  std::string before, after, report;
  double least_change_percent = 2;
  double sigmas = 3;
};

Result<std::vector<RunFigures>> read(const std::string& path) {
  SLUICE_ASSIGN(const std::string text, read_whole_file(path));
  return parse_result_file(text, path);
}

Result<int> run(const CompareFlags& flags) {
  SLUICE_ASSIGN(auto before, read(flags.before));
  SLUICE_ASSIGN(auto after, read(flags.after));
  const CompareOptions options{.least_change = flags.least_change_percent / 100, .sigmas = flags.sigmas};
  SLUICE_ASSIGN(const Comparison comparison, compare_files(before, after, options));
  std::fputs(table_of(comparison).c_str(), stdout);
  if (!flags.report.empty()) {
    std::vector<RunFigures> both;
    for (const PairOfRuns& pair : comparison.pairs) {
      both.push_back(pair.before);
      both.push_back(pair.after);
      // Two runs of one name would look like one.
      if (pair.before.label == pair.after.label) {
        both[both.size() - 2].label += " before";
        both.back().label += " after";
      }
    }
    ReportFrame frame{.title = "What changed", .subtitle = flags.before + " and " + flags.after};
    for (const PairOfRuns& pair : comparison.pairs) {
      for (const Change& each : pair.changes) {
        if (each.verdict == Verdict::kSame) continue;
        char text[300];
        std::snprintf(text, sizeof text, "%.80s: %s went from %.4g to %.4g, %s.", pair.after.label.c_str(),
                      each.name.c_str(), each.before, each.after,
                      each.verdict == Verdict::kWorse ? "worse beyond noise" : "better beyond noise");
        frame.findings.emplace_back(text);
      }
    }
    if (frame.findings.empty()) frame.findings.emplace_back("Nothing changed beyond noise.");
    std::ofstream file(flags.report, std::ios::binary);
    file << html_report(frame, both);
    file.close();
    if (!file) return Error{ErrorCode::kIo, "Cannot write " + flags.report + "."};
    std::fprintf(stderr, "wrote %s\n", flags.report.c_str());
  }
  return comparison.any_worse() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  CompareFlags flags;
  CLI::App app("Tells what changed between two results of `sluice bench serve --save-result`, beyond noise.",
               "sluice bench compare");
  app.add_option("before", flags.before, "a result's JSON")->required();
  app.add_option("after", flags.after, "another's")->required();
  app.add_option("--min-change", flags.least_change_percent, "percent that count as a change")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1000.0));
  app.add_option("--sigmas", flags.sigmas, "standard errors beyond which a change is no chance")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--report", flags.report, "write a page with both in its pictures, an HTML file");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& stop) {
    return app.exit(stop) == 0 ? 0 : 2;
  }
  const auto code = run(flags);
  if (code.ok()) return *code;
  std::fprintf(stderr, "sluice bench compare: %s\n", code.error().message.c_str());
  return 2;
}
