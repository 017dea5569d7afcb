// The engine without HTTP: what a decoding step takes at each batch size, what a prompt takes at each length,
// how much of it is the host's, and what share of the machine's own limit that is. `sluice bench engine`. One
// thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/machine_peaks.h"
#include "engine/options.h"
#include "kernels/dtype.h"
#include "kernels/make_backend.h"

namespace sluice::bench {

struct EngineBenchOptions {
  std::string model;   // a file or directory; with `dummy` a config.json or its directory
  bool dummy = false;  // random weights of `dummy_format`
  WeightFormat dummy_format = WeightFormat::kBF16;
  std::string quantization;  // as quantise_as has it
  BackendOptions backend;
  EngineOptions engine;  // max_num_seqs and max_model_len are what the runs need
  std::vector<int> batches = {1, 8, 32};
  int context = 1024;  // tokens of each sequence when decoding begins
  std::vector<int> prompts = {512, 2048};
  int steps = 32;  // measured, of each batch
  int rounds = 3;
};

struct DecodeFigures {
  int batch = 0;
  double step_s = 0;  // median over all steps of all rounds
  double host_s = 0;  // of it, not waiting for the device: median
  double bytes = 0;   // a step must read: weights, keys and values
  double operations = 0;
  double limit_s = 0;  // the longer of what the peaks allow for both
  double tokens_per_s() const { return batch / step_s; }
  double share() const { return limit_s / step_s; }  // of the limit
};

struct PrefillFigures {
  int tokens = 0;
  double seconds = 0;  // median
  double operations = 0;
  double limit_s = 0;
  double tokens_per_s() const { return tokens / seconds; }
  double share() const { return limit_s / seconds; }
};

struct EngineFigures {
  std::string device, model, weights, kv_cache;
  double weight_bytes = 0;
  MachinePeaks peaks;
  std::vector<DecodeFigures> decode;
  std::vector<PrefillFigures> prefill;
};

// `say` gets a line of progress now and then.
Result<EngineFigures> bench_engine(const EngineBenchOptions& options,
                                   const std::function<void(const std::string&)>& say);

std::string as_table(const EngineFigures& figures);
std::string as_json(const EngineFigures& figures, const EngineBenchOptions& options);

}  // namespace sluice::bench
