#include "bench/serve/summary.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "bench/serve/remarks.h"
#include "bench/serve/timeline.h"

namespace sluice::bench {
namespace {

constexpr size_t kStretches = 20;
constexpr size_t kMaxExamples = 5;

double ms(double seconds) {
  return seconds * 1e3;
}

std::string kind_of(const RequestRecord& record) {
  std::string kind(name_of(record.outcome));
  if (record.outcome == Outcome::kHttpStatus) kind += "_" + std::to_string(record.status);
  return kind;
}

// The samples of some records, not yet sorted.
struct Samples {
  std::vector<double> ttft, tpot, itl, e2el, ttft_sent, e2el_sent, late, queue;

  void add(const RequestRecord& record) {
    const auto put = [](std::vector<double>& to, double value) {
      if (!std::isnan(value)) to.push_back(value);
    };
    put(late, ms(record.sent_s - record.planned_s));
    if (record.outcome != Outcome::kDone) return;
    const Latencies due = latencies_of(record, false), sent = latencies_of(record, true);
    put(ttft, due.ttft_ms);
    put(tpot, due.tpot_ms);
    put(e2el, due.e2el_ms);
    put(ttft_sent, sent.ttft_ms);
    put(e2el_sent, sent.e2el_ms);
    put(queue, record.queue_ms);
    itl.insert(itl.end(), record.gaps_ms.begin(), record.gaps_ms.end());
  }
};

// Sums and distributions of a set of records within so many seconds.
Summary figures(const std::vector<const RequestRecord*>& records, double duration_s, const Slo& slo) {
  Summary out;
  Samples samples;
  out.duration_s = duration_s;
  for (const RequestRecord* record : records) {
    ++out.requests;
    samples.add(*record);
    if (record->outcome == Outcome::kCancelled) ++out.cancelled;
    if (record->outcome == Outcome::kCut) ++out.cut;
    if (record->is_error()) {
      ++out.failed;
      const std::string kind = kind_of(*record);
      if (++out.errors[kind] == 1 && out.error_examples.size() < kMaxExamples)
        out.error_examples.push_back(kind + ": " + record->fault);
    }
    if (record->outcome != Outcome::kDone) continue;
    ++out.completed;
    out.good += is_good(*record, slo) ? 1 : 0;
    out.input_tokens += record->input_tokens;
    out.output_tokens += record->output_tokens;
    out.wanted_output_tokens += record->wanted_output;
    out.with_usage += record->has_usage ? 1 : 0;
    out.with_queue += std::isnan(record->queue_ms) ? 0 : 1;
    if (record->cached_tokens >= 0) {
      ++out.with_cached;
      out.cached_tokens += static_cast<uint64_t>(record->cached_tokens);
    }
    if (record->has_usage && record->wanted_input > 0) {
      ++out.known_inputs;
      out.exact_inputs += record->wanted_input == record->input_tokens ? 1 : 0;
    }
  }
  const auto rate = [&](double count) { return duration_s > 0 ? count / duration_s : 0; };
  out.request_throughput = rate(static_cast<double>(out.completed));
  out.goodput = rate(static_cast<double>(out.good));
  out.output_throughput = rate(static_cast<double>(out.output_tokens));
  out.total_throughput = rate(static_cast<double>(out.input_tokens + out.output_tokens));
  out.ttft = Distribution(std::move(samples.ttft));
  out.tpot = Distribution(std::move(samples.tpot));
  out.itl = Distribution(std::move(samples.itl));
  out.e2el = Distribution(std::move(samples.e2el));
  out.ttft_sent = Distribution(std::move(samples.ttft_sent));
  out.e2el_sent = Distribution(std::move(samples.e2el_sent));
  out.late = Distribution(std::move(samples.late));
  out.queue = Distribution(std::move(samples.queue));
  return out;
}

std::vector<const RequestRecord*> counted(const RunResult& run) {
  std::vector<const RequestRecord*> records;
  for (const RequestRecord& each : run.records) {
    if (!each.is_warmup) records.push_back(&each);
  }
  return records;
}

// What chance does to a percentile of n independent samples: half the way between those a standard deviation
// of its rank below and above.
double rank_error(const Distribution& of, double percentile) {
  if (of.count() < 2) return kNever;
  const double p = percentile / 100;
  const double reach = 100 * std::sqrt(p * (1 - p) / static_cast<double>(of.count()));
  return (of.percentile(percentile + reach) - of.percentile(percentile - reach)) / 2;
}

// A stretch or a single run has too few samples to tell how far a tail wanders; the ranks do.
void widen_tails(Summary& out, const std::vector<double>& percentiles) {
  const std::pair<const char*, const Distribution*> metrics[] = {
      {"_ttft_ms", &out.ttft}, {"_tpot_ms", &out.tpot}, {"_itl_ms", &out.itl}, {"_e2el_ms", &out.e2el}};
  for (const auto& [end, distribution] : metrics) {
    for (const double p : percentiles) {
      const auto known = out.standard_errors.find(percentile_name(p) + end);
      if (known != out.standard_errors.end())
        known->second = std::fmax(known->second, rank_error(*distribution, p));
    }
  }
}

// Of each figure its values in the runs, or in one run's stretches.
void add_errors(Summary& out, const std::vector<RunResult>& runs, const SummaryOptions& options) {
  std::map<std::string, std::vector<double>> values;
  const auto add = [&](const Summary& part) {
    for (const auto& [name, value] : figures_of(part, options.percentiles)) {
      if (!std::isnan(value)) values[name].push_back(value);
    }
  };
  const bool by_runs = runs.size() >= 3;
  if (by_runs) {
    for (const RunResult& run : runs)
      add(figures(counted(run), run.duration_s - options.warmup_s, options.slo));
  } else {
    // Neighbours in time are alike, so stretches and not single requests tell how much chance there is (batch
    // means). Rates come from the time that a stretch's arrivals took.
    for (const RunResult& run : runs) {
      const auto records = counted(run);
      if (records.size() < 2 * kStretches) continue;
      for (size_t i = 0; i < kStretches; ++i) {
        const size_t begin = records.size() * i / kStretches, end = records.size() * (i + 1) / kStretches;
        const double until = end < records.size() ? records[end]->planned_s : run.duration_s;
        add(figures({records.begin() + static_cast<long>(begin), records.begin() + static_cast<long>(end)},
                    until - records[begin]->planned_s, options.slo));
      }
    }
  }
  for (const auto& [name, each] : values) {
    if (const double error = standard_error(each); !std::isnan(error)) out.standard_errors[name] = error;
  }
  widen_tails(out, options.percentiles);
  if (runs.size() < 2) return;
  values.clear();
  for (const RunResult& run : runs)
    add(figures(counted(run), run.duration_s - options.warmup_s, options.slo));
  for (const auto& [name, each] : values) {
    if (each.size() == runs.size()) out.intervals[name] = confidence_95(each);
  }
}

}  // namespace

Result<Slo> parse_slo(const std::vector<std::string>& terms) {
  Slo slo;
  for (const std::string& each : terms) {
    for (std::string_view rest = each; !rest.empty();) {
      const size_t end = rest.find_first_of(", ");
      const std::string_view term = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      if (term.empty()) continue;
      const size_t colon = term.find(':');
      const std::string_view name = term.substr(0, colon);
      std::optional<double>* const bound = name == "ttft"   ? &slo.ttft_ms
                                           : name == "tpot" ? &slo.tpot_ms
                                           : name == "itl"  ? &slo.itl_ms
                                           : name == "e2el" ? &slo.e2el_ms
                                                            : nullptr;
      double value = -1;
      if (colon != std::string_view::npos)
        std::from_chars(term.data() + colon + 1, term.data() + term.size(), value);
      if (bound == nullptr || !(value >= 0) || !std::isfinite(value))
        return invalid_argument("goodput", "--goodput: '" + std::string(term.substr(0, 40)) +
                                               "' is not ttft, tpot, itl or e2el with milliseconds, as in "
                                               "ttft:500.");
      *bound = value;
    }
  }
  return slo;
}

Latencies latencies_of(const RequestRecord& record, bool from_send) {
  Latencies out;
  const double begin = from_send ? record.sent_s : record.planned_s;
  out.ttft_ms = ms(record.first_s - begin);
  out.e2el_ms = ms(record.end_s - begin);
  if (record.output_tokens > 1 && record.events > 1)
    out.tpot_ms = ms(record.last_s - record.first_s) / (record.output_tokens - 1);
  return out;
}

bool is_good(const RequestRecord& record, const Slo& slo) {
  if (record.outcome != Outcome::kDone) return false;
  if (!slo.any()) return true;
  const Latencies had = latencies_of(record, false);
  // An answer of one token has no gaps to break a bound with.
  const auto within = [](double value, const std::optional<double>& bound) {
    return !bound || std::isnan(value) || value <= *bound;
  };
  if (!within(had.ttft_ms, slo.ttft_ms) || !within(had.tpot_ms, slo.tpot_ms) ||
      !within(had.e2el_ms, slo.e2el_ms))
    return false;
  if (!slo.itl_ms || record.gaps_ms.empty()) return true;
  const Distribution gaps(std::vector<double>(record.gaps_ms.begin(), record.gaps_ms.end()));
  return gaps.percentile(95) <= *slo.itl_ms;
}

Summary summarize(const std::vector<RunResult>& runs, const SummaryOptions& options) {
  std::vector<const RequestRecord*> records;
  double duration_s = 0;
  size_t all = 0;
  for (const RunResult& run : runs) {
    const auto its = counted(run);
    records.insert(records.end(), its.begin(), its.end());
    duration_s += std::max(0.0, run.duration_s - options.warmup_s);
    all += run.records.size();
  }
  Summary out = figures(records, duration_s, options.slo);
  out.warmups = all - records.size();
  for (const RunResult& run : runs) {
    out.client_busy = std::max(out.client_busy, run.client_busy);
    if (!std::isnan(run.machine_busy)) out.machine_busy = std::fmax(out.machine_busy, run.machine_busy);
    out.stall_ms = std::max(out.stall_ms, run.worst_stall_ms);
    out.was_interrupted |= run.was_interrupted;
    const Peaks peaks = find_peaks(run.records);
    out.peak_output_per_s = std::max(out.peak_output_per_s, peaks.tokens_per_s);
    out.peak_in_flight = std::max(out.peak_in_flight, peaks.in_flight);
  }
  out.timeline = make_timeline(runs.front().records, runs.front().duration_s);
  add_errors(out, runs, options);
  add_remarks(out, options);
  return out;
}

std::string percentile_name(double percentile) {
  char text[32];
  std::snprintf(text, sizeof text, "p%g", percentile);
  return text;
}

std::vector<std::pair<std::string, double>> figures_of(const Summary& summary,
                                                       const std::vector<double>& percentiles) {
  std::vector<std::pair<std::string, double>> out = {
      {"request_throughput", summary.request_throughput},
      {"request_goodput", summary.goodput},
      {"output_throughput", summary.output_throughput},
      {"total_token_throughput", summary.total_throughput},
  };
  const auto add = [&](const std::string& name, const Distribution& of) {
    out.emplace_back("mean_" + name + "_ms", of.mean());
    out.emplace_back("median_" + name + "_ms", of.percentile(50));
    out.emplace_back("std_" + name + "_ms", of.deviation());
    for (const double p : percentiles)
      out.emplace_back(percentile_name(p) + "_" + name + "_ms", of.percentile(p));
  };
  add("ttft", summary.ttft);
  add("tpot", summary.tpot);
  add("itl", summary.itl);
  add("e2el", summary.e2el);
  add("ttft_from_send", summary.ttft_sent);
  add("e2el_from_send", summary.e2el_sent);
  add("send_lateness", summary.late);
  add("queue_time", summary.queue);
  return out;
}

}  // namespace sluice::bench
