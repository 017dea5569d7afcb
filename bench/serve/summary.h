// From the records of one or more runs to the figures that are told. Every latency is known twice: from the
// moment a request was due, so that a wait for the client or the server's door is in it (no coordinated
// omission), and from the moment it was sent, as other tools count. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bench/serve/distribution.h"
#include "bench/serve/load_run.h"

namespace sluice::bench {

// Bounds within which a request was good; milliseconds.
struct Slo {
  std::optional<double> ttft_ms, tpot_ms, itl_ms, e2el_ms;
  bool any() const { return ttft_ms || tpot_ms || itl_ms || e2el_ms; }
};
// "ttft:500 itl:50", also with commas. kInvalidArgument tells what is wrong.
Result<Slo> parse_slo(const std::vector<std::string>& terms);

// Of one request; NaN where there is none.
struct Latencies {
  double ttft_ms = kNever;  // to the first token
  double tpot_ms = kNever;  // mean time of a token after the first, by the count of usage
  double e2el_ms = kNever;  // to the answer's end
};
Latencies latencies_of(const RequestRecord& record, bool from_send);
// Done, and within the bounds, from the moment it was due; of its gaps 95 in 100 within itl_ms.
bool is_good(const RequestRecord& record, const Slo& slo);

struct TimelinePoint {
  double at_s = 0;  // the middle of its stretch
  double arrivals_per_s = 0, ends_per_s = 0, errors_per_s = 0, tokens_per_s = 0;
  double in_flight = 0;                               // at that moment
  double ttft_p50_ms = kNever, ttft_p99_ms = kNever;  // of requests due in the stretch
};

// A doubt about a run, in a whole sentence; of one kind there is one in a run.
struct Remark {
  std::string kind, text;
};

struct Summary {
  size_t requests = 0, completed = 0, failed = 0, cancelled = 0, cut = 0, warmups = 0, good = 0;
  std::map<std::string, size_t> errors;     // by kind; http ones by status: "http_429"
  std::vector<std::string> error_examples;  // a few sentences, each with its kind
  double duration_s = 0;                    // of what is counted; of all runs together
  uint64_t input_tokens = 0, output_tokens = 0, cached_tokens = 0, wanted_output_tokens = 0;
  size_t with_usage = 0, with_cached = 0, with_queue = 0;
  uint64_t exact_inputs = 0, known_inputs = 0;  // prompts whose usage was what was meant, of those that tell
  Distribution ttft, tpot, itl, e2el, ttft_sent, e2el_sent, late, queue;                    // ms
  double request_throughput = 0, goodput = 0, output_throughput = 0, total_throughput = 0;  // per second
  double peak_output_per_s = 0;  // of any whole second
  size_t peak_in_flight = 0;
  double client_busy = 0, machine_busy = kNever, stall_ms = 0;
  bool was_interrupted = false;
  std::vector<TimelinePoint> timeline;  // of the first run
  std::vector<Remark> remarks;          // why the figures may mean little
  // Of each figure that is compared: its standard error, from the runs where there are three, else from the
  // run's own twenty stretches; and the mean of the runs' values. Names as in the JSON.
  std::map<std::string, double> standard_errors;
  std::map<std::string, Interval> intervals;  // 95%, from two runs on
};

struct SummaryOptions {
  Slo slo;
  std::vector<double> percentiles = {50, 90, 95, 99, 99.9};
  double warmup_s = 0;
  bool is_open_loop = true;
  bool shares_nothing = false;  // no two prompts of the workload begin alike
};

// `runs`: repeats of one load with different seeds; never empty.
Summary summarize(const std::vector<RunResult>& runs, const SummaryOptions& options);

// The figures by the names that `vllm bench serve` gives them: mean_ttft_ms, p99_itl_ms, request_throughput,
// … In the order in which they are told; NaN where there is none.
std::vector<std::pair<std::string, double>> figures_of(const Summary& summary,
                                                       const std::vector<double>& percentiles);
std::string percentile_name(double percentile);  // "p99", "p99.9"; 50: "p50"

}  // namespace sluice::bench
