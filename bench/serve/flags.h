// What the user asked for: flags of the command line, and of a workload file, which says the same in JSON.
// Read and checked once; errors name the flag or the file's field.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "bench/serve/arrivals.h"
#include "bench/serve/summary.h"
#include "bench/serve/target.h"
#include "bench/serve/workload.h"

namespace sluice::bench {

// How much load, how long, how often. Names are those of the flags and of the file's fields.
struct LoadFlags {
  std::string endpoint = "/v1/completions";
  int64_t num_prompts = 0;  // 0: 1000, or as many as the duration takes
  std::string request_rate = "inf";
  double burstiness = 1;
  std::string arrival = "gamma";
  std::string max_concurrency;
  std::string rate_steps;
  std::string ramp_up_strategy;
  double ramp_up_start_rps = 0, ramp_up_end_rps = 0;
  double duration = 0;  // seconds; 0: until all prompts were sent
  double warmup = 0;
  int64_t num_warmups = 0;
  int64_t seed = 0;
  int64_t seeds = 1;
  bool ignore_eos = false;
  double temperature = 0;
  bool prompt_ids = false;
  bool no_stream = false;
};

struct Flags {
  LoadFlags load;
  PartSpec part;                // of the command line and the file's top
  std::vector<PartSpec> parts;  // of the file; empty: `part` alone
  std::string name;             // of the file, or empty

  std::string base_url, host = "127.0.0.1";
  int64_t port = 8000;
  std::string backend;
  std::string model, api_key, ca_file;
  std::vector<std::string> headers;
  bool insecure = false;

  std::string workload_file;
  double request_timeout = 600;
  int64_t client_threads = 1;
  std::vector<std::string> goodput;
  bool find_rate = false;
  double find_share = 0.99, find_tolerance = 0.05, find_seconds = 20;

  std::string percentile_metrics = "ttft,tpot,itl,e2el";
  std::string metric_percentiles = "50,90,95,99,99.9";
  bool save_result = false, save_detailed = false;
  std::string result_dir, result_filename, label;
  std::string requests_csv, report;
  bool quiet = false;
};

// The checked and computed form of it.
struct Plan {
  std::vector<double> rates;          // one or more; unlimited: at once, or as places become free
  std::vector<size_t> concurrencies;  // one or more; 0: without a bound
  std::vector<RateSegment> curve;     // in place of rates
  std::vector<double> percentiles;
  std::vector<std::string> metrics;  // ttft, tpot, …
  Slo slo;
  uint64_t session_count = 0;
  double duration_s = 1e18;
  bool replays_trace = false;
  bool ends_by_time = false;  // the number of sessions is only a bound
};

// CLI11's own words and exit code where it ends there (--help, an unknown flag): then `exit_code` is set.
Result<Flags> parse_flags(int argc, char** argv, int& exit_code);
Result<Plan> make_plan(const Flags& flags, const Workload& workload);
// `api_key` in place of the flag's where that is empty.
Result<Target> make_target(const Flags& flags, const std::string& api_key);

// Reads a workload file's text into `flags`. kInvalidArgument names the file's field.
Status apply_workload_file(std::string_view text, const std::string& file, Flags& flags);
// "1,2.5,inf".
Result<std::vector<double>> parse_numbers(const std::string& flag, std::string_view text, double low,
                                          double high);

}  // namespace sluice::bench
