// Every operation of a device, alone, at the shapes of one layer of a model: its time, the bytes and
// operations it is about, and what share that is of the machine's own limit, measured in the same run.
// `sluice bench kernels`. One thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/engine_bench.h"
#include "kernels/make_backend.h"

namespace sluice::bench {

struct KernelBenchOptions {
  std::string model;  // whose shapes: a file, a directory, or a config.json alone
  BackendOptions backend;
  std::vector<WeightFormat> weights = {WeightFormat::kBF16, WeightFormat::kQ8_0, WeightFormat::kQ4_K};
  std::vector<DType> caches = {DType::kBF16};
  std::vector<int> tokens = {1, 16, 256};  // of a step
  int context = 1024;                      // of each sequence that decodes
  std::string filter;                      // only operations whose name has this in it
  double min_seconds = 0.1;                // of each measurement, of which there are five
};

struct KernelFigures {
  std::string operation;  // "matmul qkv Q4_K"
  std::string shape;      // "16 x 576 -> 960"
  double seconds = 0;     // median
  double bytes = 0;       // that must be read and written
  double operations = 0;  // of products and sums; 0: it is about bytes alone
  double limit_s = 0;     // the longer of what the peaks allow for both
  double share() const { return limit_s / seconds; }
};

struct KernelReport {
  std::string device;
  MachinePeaks peaks;
  std::vector<KernelFigures> kernels;
  std::vector<std::string> left_out;  // and why
};

// `say` gets each line as it comes.
Result<KernelReport> bench_kernels(const KernelBenchOptions& options,
                                   const std::function<void(const std::string&)>& say);

std::string table_head();
std::string as_line(const KernelFigures& figures);
std::string as_json(const KernelReport& report, const KernelBenchOptions& options);

}  // namespace sluice::bench
