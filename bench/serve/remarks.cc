#include "bench/serve/remarks.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace sluice::bench {
namespace {

// A send may be late by the timer's and the scheduler's grain; more than that, and more than a share of what
// is measured, and the load was not what was planned.
constexpr double kHarmlessLateMs = 5, kLateShareOfTtft = 0.1;
constexpr double kBusyClient = 0.85, kBusyMachine = 0.95;
constexpr double kHarmlessStallMs = 10;
constexpr size_t kEnoughForP99 = 500;
constexpr double kBacklogGrowth = 2;
constexpr double kSurprisingHits = 0.25;  // a chat template is shared even so

__attribute__((format(printf, 1, 2))) std::string words(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

// Whether more and more requests stood in flight as long as new ones came: the mean of the last fifth of the
// arrivals' time against that of the second fifth.
bool backlog_grew(const Summary& summary, double& from, double& to) {
  double last_arrival = 0;
  for (const TimelinePoint& point : summary.timeline) {
    if (point.arrivals_per_s > 0) last_arrival = point.at_s;
  }
  const auto mean = [&](double begin, double end) {
    double sum = 0, count = 0;
    for (const TimelinePoint& point : summary.timeline) {
      if (point.at_s < begin * last_arrival || point.at_s > end * last_arrival) continue;
      sum += point.in_flight;
      ++count;
    }
    return count > 0 ? sum / count : 0;
  };
  from = mean(0.2, 0.4);
  to = mean(0.8, 1.0);
  const double middle = mean(0.5, 0.7);
  return to > 8 && to > kBacklogGrowth * std::max(1.0, from) && middle > from && to > middle;
}

}  // namespace

void add_remarks(Summary& summary, const SummaryOptions& options) {
  const auto add = [&](const char* kind, std::string text) {
    summary.remarks.push_back({kind, std::move(text)});
  };
  if (summary.was_interrupted)
    add("interrupted",
        words("Interrupted: the report covers the %zu requests that had ended; %zu were cut off.",
              summary.requests - summary.cut, summary.cut));
  const double late = summary.late.percentile(99);
  const double ttft = summary.ttft.percentile(50);
  const double harmless = std::max(kHarmlessLateMs, std::isnan(ttft) ? 0 : kLateShareOfTtft * ttft);
  if (options.is_open_loop && late > harmless)
    add("client_late",
        words("The client fell behind its plan: one send in a hundred left %.1f ms late or more "
              "(the worst %.1f ms). Latencies count from the planned time, so this wait is in them.",
              late, summary.late.max()));
  if (summary.client_busy > kBusyClient)
    add("client_busy",
        words("The client was saturated: its thread was busy %.0f%% of the time. The server may be "
              "faster than these figures; try --client-threads.",
              summary.client_busy * 100));
  if (summary.machine_busy > kBusyMachine)
    add("machine_busy",
        words("This machine was saturated: its cores were busy %.0f%% of the time. What waited for a "
              "core here is in the latencies.",
              summary.machine_busy * 100));
  if (summary.stall_ms > kHarmlessStallMs && summary.client_busy <= kBusyClient)
    add("client_stalled",
        words("The client's clock ticks came up to %.1f ms late (99th percentile): something else took "
              "its core, and stamps may be late by as much.",
              summary.stall_ms));
  double from = 0, to = 0;
  if (options.is_open_loop && backlog_grew(summary, from, to))
    add("backlog",
        words("The server did not keep up with the offered load: requests in flight grew from %.0f to "
              "%.0f. Latencies then depend on how long the run lasts.",
              from, to));
  if (summary.failed > 0)
    add("failures", words("%zu of %zu requests failed; latencies are those of the others.", summary.failed,
                          summary.requests));
  if (summary.completed > 0 && summary.with_usage < summary.completed)
    add("no_usage",
        words("%zu of %zu answers came without usage: their tokens are counted as events, which may "
              "hold several.",
              summary.completed - summary.with_usage, summary.completed));
  if (options.shares_nothing && summary.input_tokens > 0 &&
      static_cast<double>(summary.cached_tokens) >
          kSurprisingHits * static_cast<double>(summary.input_tokens))
    add("cached",
        words("%.0f%% of the prompts' tokens came from the server's prefix cache though no two prompts "
              "begin alike: it has seen them before. Another --seed makes other prompts.",
              100 * static_cast<double>(summary.cached_tokens) / static_cast<double>(summary.input_tokens)));
  if (summary.exact_inputs < summary.known_inputs)
    add("lengths", words("%llu of %llu prompts had another number of tokens than asked for.",
                         static_cast<unsigned long long>(summary.known_inputs - summary.exact_inputs),
                         static_cast<unsigned long long>(summary.known_inputs)));
  if (summary.completed > 0 && summary.completed < kEnoughForP99)
    add("few", words("%zu answers are few: their p99 is the tale of the slowest %zu.", summary.completed,
                     std::max<size_t>(1, summary.completed / 100)));
}

std::vector<std::string> grouped(const std::vector<std::pair<std::string, std::vector<Remark>>>& runs) {
  std::vector<std::string> out;
  std::vector<std::string> told;
  for (size_t first = 0; first < runs.size(); ++first) {
    for (const Remark& remark : runs[first].second) {
      if (std::ranges::find(told, remark.kind) != told.end()) continue;
      told.push_back(remark.kind);
      size_t others = 0;
      for (size_t i = first + 1; i < runs.size(); ++i)
        others += std::ranges::count(runs[i].second, remark.kind, &Remark::kind) > 0 ? 1 : 0;
      std::string who = runs[first].first;
      if (others > 0) who += " (and " + std::to_string(others) + (others == 1 ? " other)" : " others)");
      out.push_back(who + ": " + remark.text);
    }
  }
  return out;
}

}  // namespace sluice::bench
