#include <cmath>
#include <cstdarg>

#include "bench/serve/remarks.h"
#include "bench/serve/result_text.h"

namespace sluice::bench {
namespace {

__attribute__((format(printf, 2, 3))) void put(std::string& out, const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  out += text;
}

// Three figures that count, more where there are more before the point.
std::string figure(double value) {
  if (std::isnan(value)) return "-";
  const double size = std::abs(value);
  char text[64];
  std::snprintf(text, sizeof text,
                size < 1      ? "%.3f"
                : size < 10   ? "%.2f"
                : size < 1000 ? "%.1f"
                              : "%.0f",
                value);
  return text;
}

const Distribution& distribution_of(const Summary& summary, const std::string& metric) {
  if (metric == "ttft") return summary.ttft;
  if (metric == "tpot") return summary.tpot;
  if (metric == "itl") return summary.itl;
  return summary.e2el;
}

void put_latencies(std::string& out, const Summary& summary, const Plan& plan) {
  put(out, "\n  %-22s %10s", "milliseconds", "mean");
  for (const double p : plan.percentiles) put(out, " %10s", percentile_name(p).c_str());
  out += '\n';
  const auto row = [&](const char* name, const Distribution& of) {
    if (of.count() == 0) return;
    put(out, "  %-22s %10s", name, figure(of.mean()).c_str());
    for (const double p : plan.percentiles) put(out, " %10s", figure(of.percentile(p)).c_str());
    out += '\n';
  };
  const auto name_of = [](const std::string& metric) {
    if (metric == "ttft") return "time to first token";
    if (metric == "tpot") return "time per output token";
    if (metric == "itl") return "inter-token latency";
    return "end to end";
  };
  for (const std::string& metric : plan.metrics) row(name_of(metric), distribution_of(summary, metric));
  row("ttft from the send", summary.ttft_sent);
  row("end to end from send", summary.e2el_sent);
  row("lateness of sends", summary.late);
  row("queue, server's word", summary.queue);
}

void put_point(std::string& out, const Point& point, const Plan& plan) {
  const Summary& got = point.summary;
  put(out, "%s\n", point.label.c_str());
  put(out, "  %-22s %zu of %zu in %s s", "requests", got.completed, got.requests,
      figure(got.duration_s).c_str());
  if (point.runs.size() > 1) put(out, " (%zu seeds together)", point.runs.size());
  if (got.warmups > 0) put(out, ", %zu of the warm-up not counted", got.warmups);
  out += '\n';
  if (got.failed + got.cancelled + got.cut > 0) {
    put(out, "  %-22s", "not completed");
    for (const auto& [kind, count] : got.errors) put(out, " %s %zu", kind.c_str(), count);
    if (got.cancelled > 0) put(out, " cancelled %zu", got.cancelled);
    if (got.cut > 0) put(out, " cut %zu", got.cut);
    out += '\n';
    for (const std::string& example : got.error_examples) put(out, "    %s\n", example.c_str());
  }
  put(out, "  %-22s %s req/s", "throughput", figure(got.request_throughput).c_str());
  const auto interval = got.intervals.find("request_throughput");
  if (interval != got.intervals.end())
    put(out, " (95%%: %s to %s)", figure(interval->second.low).c_str(),
        figure(interval->second.high).c_str());
  put(out, ", %s output tok/s, %s tok/s in all\n", figure(got.output_throughput).c_str(),
      figure(got.total_throughput).c_str());
  if (plan.slo.any())
    put(out, "  %-22s %s req/s, %.2f%% of the requests within the bounds\n", "goodput",
        figure(got.goodput).c_str(),
        100 * static_cast<double>(got.good) / std::max<double>(1, static_cast<double>(got.requests)));
  put(out, "  %-22s %llu in, %llu out", "tokens", static_cast<unsigned long long>(got.input_tokens),
      static_cast<unsigned long long>(got.output_tokens));
  if (got.with_cached > 0 && got.input_tokens > 0)
    put(out, ", %.1f%% of the prompts' from the cache",
        100 * static_cast<double>(got.cached_tokens) / static_cast<double>(got.input_tokens));
  put(out, "\n  %-22s %zu requests in flight, %s output tok/s\n", "peaks", got.peak_in_flight,
      figure(got.peak_output_per_s).c_str());
  put_latencies(out, got, plan);
  for (const Remark& remark : got.remarks) put(out, "\n  ! %s", remark.text.c_str());
  if (!got.remarks.empty()) out += '\n';
}

void put_sweep(std::string& out, const std::vector<Point>& points, const Plan& plan) {
  put(out, "  %-24s %9s %10s %9s %9s %9s %9s %9s %7s%s\n", "", "req/s", "out tok/s", "ttft p50", "ttft p99",
      "itl p50", "itl p99", "e2e p99", "errors", plan.slo.any() ? "    good" : "");
  for (const Point& point : points) {
    const Summary& got = point.summary;
    put(out, "  %-24s %9s %10s %9s %9s %9s %9s %9s %7zu", point.label.c_str(),
        figure(got.request_throughput).c_str(), figure(got.output_throughput).c_str(),
        figure(got.ttft.percentile(50)).c_str(), figure(got.ttft.percentile(99)).c_str(),
        figure(got.itl.percentile(50)).c_str(), figure(got.itl.percentile(99)).c_str(),
        figure(got.e2el.percentile(99)).c_str(), got.failed);
    if (plan.slo.any())
      put(out, " %6.1f%%",
          100 * static_cast<double>(got.good) / std::max<double>(1, static_cast<double>(got.requests)));
    out += '\n';
  }
  std::vector<std::pair<std::string, std::vector<Remark>>> remarks;
  for (const Point& point : points) remarks.emplace_back(point.label, point.summary.remarks);
  for (const std::string& remark : grouped(remarks)) put(out, "  ! %s\n", remark.c_str());
}

}  // namespace

std::string table_of(const Experiment& experiment, const Plan& plan, const Setting& setting) {
  std::string out;
  put(out, "\n%s on %s%s, %s\n", setting.model.c_str(), setting.base_url.c_str(), setting.endpoint.c_str(),
      setting.dataset.c_str());
  if (experiment.points.size() == 1) {
    put_point(out, experiment.points[0], plan);
  } else if (!experiment.points.empty()) {
    put_sweep(out, experiment.points, plan);
  }
  if (experiment.found_rate) {
    put(out, "\nThe bounds are kept up to %.4g req/s", *experiment.found_rate);
    if (experiment.failed_rate) put(out, "; at %.4g they are not", *experiment.failed_rate);
    out += ".\n";
  } else if (experiment.failed_rate) {
    put(out, "\nThe bounds are not kept at any rate that was tried, down to %.4g req/s.\n",
        *experiment.failed_rate);
  }
  return out;
}

}  // namespace sluice::bench
