#include "bench/serve/html_report.h"

#include <algorithm>
#include <cmath>

#include "bench/serve/remarks.h"
#include "bench/serve/svg_plot.h"

namespace sluice::bench {
namespace {

constexpr size_t kMostCurves = 8;  // in one picture, by their colours
constexpr size_t kMostTimelines = 4;

constexpr const char* kStyle = R"css(
:root { --ink: #1c2128; --soft: #68717d; --line: #e3e6ea; --paper: #ffffff; --card: #f7f8f9; --warn: #9a5b00;
  --c0: #2563a8; --c1: #d0732b; --c2: #3a8f5c; --c3: #8a4f9e; --c4: #b8433f; --c5: #5f7f8c; --c6: #a68a1d;
  --c7: #444b55; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #98a1ac; --line: #2e343c;
  --paper: #14171b; --card: #1b1f24; --warn: #e0a952;
  --c0: #6aa6e8; --c1: #e89a5d; --c2: #6fc08f; --c3: #c08fd3; --c4: #e5817d;
  --c5: #93b3c0; --c6: #d3b94f; --c7: #b4bbc4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 44px 28px 72px; max-width: 1040px; background: var(--paper);
  color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 25px; font-weight: 600; letter-spacing: -.01em; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; font-weight: 600; margin: 46px 0 14px; }
p.sub { color: var(--soft); margin: 0 0 26px; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1px;
  border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.tile { box-shadow: 0 0 0 1px var(--line); padding: 13px 16px 12px; }
.tile b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile b small { font-size: 13px; font-weight: 400; color: var(--soft); margin-left: 3px; }
.tile span { color: var(--soft); font-size: 13px; }
ul.notes { margin: 22px 0 0; padding: 13px 18px 13px 34px; background: var(--card); border-radius: 8px; }
ul.notes li { margin: 3px 0; }
ul.notes li.warn::marker { color: var(--warn); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 30px 38px; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { font: 11.5px system-ui, sans-serif; fill: var(--soft); }
svg .title { font-size: 13.5px; font-weight: 600; fill: var(--ink); }
svg .unit { font-weight: 400; fill: var(--soft); }
svg .tick { font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .equal { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 4; }
svg .line { fill: none; stroke-width: 1.9; stroke-linejoin: round; stroke-linecap: round; }
svg .dashed { stroke-dasharray: 5 4; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); } .s6 { stroke: var(--c6); } .s7 { stroke: var(--c7); }
svg .dot { fill: var(--paper); stroke-width: 1.9; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: right; font-weight: 500; color: var(--soft); padding: 5px 0 5px 16px; white-space: nowrap; }
td { text-align: right; padding: 5px 0 5px 16px; border-top: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
pre { background: var(--card); border-radius: 8px; padding: 12px 16px; font-size: 12.5px;
  white-space: pre-wrap;  overflow-wrap: anywhere; color: var(--soft); margin: 0; }
@media print { body { padding: 0; } h2 { break-after: avoid; } svg, tr { break-inside: avoid; } }
)css";

std::string figure_text(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::abs(value);
  char text[64];
  std::snprintf(text, sizeof text,
                size < 1      ? "%.3f"
                : size < 10   ? "%.2f"
                : size < 1000 ? "%.1f"
                              : "%.0f",
                value);
  std::string out = text;
  if (size >= 10'000) out.insert(out.size() - 3, "\u202f");  // 12 345
  return out;
}

class Page {
 public:
  Page(const ReportFrame& frame, const std::vector<RunFigures>& runs) : frame_(frame), runs_(runs) {}

  std::string write() {
    out_ =
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>" +
        html_escaped(frame_.title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" +
        html_escaped(frame_.title) + "</h1>\n<p class=\"sub\">" + html_escaped(frame_.subtitle) + "</p>\n";
    if (runs_.size() == 1) tiles(runs_[0]);
    notes();
    if (runs_.size() > 1) {
      load_curves();
      runs_table();
    }
    distributions();
    if (runs_.size() == 1) percentile_table(runs_[0]);
    timelines();
    if (!frame_.command.empty())
      out_ += "<h2>Command</h2>\n<pre>" + html_escaped(frame_.command) + "</pre>\n";
    return out_ + "</body>\n</html>\n";
  }

 private:
  void tile(double value, const char* unit, const char* about) {
    out_ += "<div class=\"tile\"><b>" + figure_text(value) + "<small>" + unit + "</small></b><span>" + about +
            "</span></div>\n";
  }

  void tiles(const RunFigures& run) {
    out_ += "<div class=\"tiles\">\n";
    tile(run.figure("request_throughput"), "req/s", "completed");
    tile(run.figure("output_throughput"), "tok/s", "generated");
    tile(run.figure("median_ttft_ms"), "ms", "time to first token, p50");
    tile(run.figure("p99_ttft_ms"), "ms", "time to first token, p99");
    tile(run.figure("median_itl_ms"), "ms", "between tokens, p50");
    tile(run.figure("p99_itl_ms"), "ms", "between tokens, p99");
    const double good = run.figure("request_goodput");
    if (std::isfinite(good)) tile(good, "req/s", "within the bounds");
    char text[80];
    std::snprintf(text, sizeof text, "%.0f <small>of %.0f</small>", run.failed, run.requests);
    out_ +=
        "<div class=\"tile\"><b>" + std::string(text) + "</b><span>requests failed</span></div>\n</div>\n";
  }

  void notes() {
    std::string list;
    for (const std::string& each : frame_.findings) list += "<li>" + html_escaped(each) + "</li>\n";
    if (runs_.size() == 1) {
      for (const Remark& each : runs_[0].remarks)
        list += "<li class=\"warn\">" + html_escaped(each.text) + "</li>\n";
    } else {
      std::vector<std::pair<std::string, std::vector<Remark>>> remarks;
      for (const RunFigures& run : runs_) remarks.emplace_back(run.label, run.remarks);
      for (const std::string& each : grouped(remarks))
        list += "<li class=\"warn\">" + html_escaped(each) + "</li>\n";
    }
    if (!list.empty()) out_ += "<ul class=\"notes\">\n" + list + "</ul>\n";
  }

  void plots(const std::string& heading, const std::vector<std::string>& drawn) {
    std::string all;
    for (const std::string& each : drawn) {
      if (!each.empty()) all += "<div>" + each + "</div>\n";
    }
    if (!all.empty()) out_ += "<h2>" + heading + "</h2>\n<div class=\"plots\">\n" + all + "</div>\n";
  }

  // Over what was varied: the offered rate, or the concurrency.
  void load_curves() {
    const auto has = [&](auto condition) { return std::ranges::all_of(runs_, condition); };
    const bool by_rate = has([](const RunFigures& run) { return std::isfinite(run.rate_rps); });
    const bool by_places = has([](const RunFigures& run) { return run.concurrency > 0; });
    const auto x_of = [&](const RunFigures& run) { return by_rate ? run.rate_rps : run.concurrency; };
    std::vector<const RunFigures*> order;
    for (const RunFigures& run : runs_) order.push_back(&run);
    std::ranges::stable_sort(order, {}, [&](const RunFigures* run) { return x_of(*run); });
    const bool varies = (by_rate || by_places) && x_of(*order.front()) < x_of(*order.back());
    if (!varies) return;
    const std::string x_label = by_rate ? "offered requests per second" : "requests in flight";
    const auto line = [&](const char* label, const char* name, size_t colour, bool is_dashed = false) {
      PlotLine made{.label = label, .colour = colour, .is_dashed = is_dashed, .has_dots = true};
      for (const RunFigures* run : order) made.points.emplace_back(x_of(*run), run->figure(name));
      return made;
    };
    std::vector<std::string> drawn;
    std::vector<PlotLine> rates = {line("completed", "request_throughput", 0)};
    if (std::ranges::any_of(runs_,
                            [](const RunFigures& run) { return run.figures.contains("request_goodput"); }))
      rates.push_back(line("within the bounds", "request_goodput", 2));
    drawn.push_back(svg_plot(
        {.title = "Requests per second", .x_label = x_label, .y_label = "", .compares_with_equal = by_rate},
        rates));
    drawn.push_back(svg_plot({.title = "Time to first token", .x_label = x_label, .y_label = "ms"},
                             {line("p50", "median_ttft_ms", 0), line("p99", "p99_ttft_ms", 1)}));
    drawn.push_back(svg_plot({.title = "Between tokens", .x_label = x_label, .y_label = "ms"},
                             {line("p50", "median_itl_ms", 0), line("p99", "p99_itl_ms", 1)}));
    // The saturation curve: what more throughput costs.
    PlotLine median{.label = "p50", .colour = 0, .has_dots = true};
    PlotLine tail{.label = "p99", .colour = 1, .has_dots = true};
    for (const RunFigures* run : order) {
      median.points.emplace_back(run->figure("output_throughput"), run->figure("median_e2el_ms"));
      tail.points.emplace_back(run->figure("output_throughput"), run->figure("p99_e2el_ms"));
    }
    drawn.push_back(svg_plot({.title = "What throughput costs: end to end",
                              .x_label = "generated tokens per second",
                              .y_label = "ms"},
                             {median, tail}));
    plots("Over the load", drawn);
  }

  void runs_table() {
    out_ +=
        "<h2>Runs</h2>\n<div class=\"wide\"><table>\n<tr><th></th><th>req/s</th><th>out tok/s</th><th>ttft "
        "p50</th><th>ttft p99</th><th>itl p50</th><th>itl p99</th><th>e2e p50</th><th>e2e p99</th>"
        "<th>failed</th></tr>\n";
    for (const RunFigures& run : runs_) {
      out_ += "<tr><td>" + html_escaped(run.label) + "</td>";
      for (const char* name : {"request_throughput", "output_throughput", "median_ttft_ms", "p99_ttft_ms",
                               "median_itl_ms", "p99_itl_ms", "median_e2el_ms", "p99_e2el_ms"})
        out_ += "<td>" + figure_text(run.figure(name)) + "</td>";
      out_ += "<td>" + std::to_string(static_cast<long>(run.failed)) + "</td></tr>\n";
    }
    out_ += "</table></div>\n";
  }

  void distributions() {
    const std::pair<const char*, const char*> metrics[] = {{"ttft", "Time to first token"},
                                                           {"itl", "Between tokens"},
                                                           {"tpot", "Mean time per token of a request"},
                                                           {"e2el", "End to end"}};
    std::vector<std::string> drawn;
    for (const auto& [name, title] : metrics) {
      std::vector<PlotLine> lines;
      // Of many runs those at equal distances, the first and the last among them.
      const size_t shown = std::min(runs_.size(), kMostCurves);
      for (size_t i = 0; i < shown; ++i) {
        const RunFigures& run = runs_[shown > 1 ? i * (runs_.size() - 1) / (shown - 1) : 0];
        const auto curve = run.curves_ms.find(name);
        if (curve == run.curves_ms.end() || curve->second.size() < 2) continue;
        PlotLine line{.label = runs_.size() > 1 ? run.label : "", .colour = i};
        for (size_t place = 0; place < curve->second.size(); ++place) {
          const double share =
              100.0 * static_cast<double>(place) / static_cast<double>(curve->second.size() - 1);
          line.points.emplace_back(std::max(curve->second[place], 1e-3), share);
        }
        lines.push_back(std::move(line));
      }
      drawn.push_back(
          svg_plot({.title = title,
                    .x_label = "ms, logarithmic",
                    .y_label = name == std::string_view("itl") ? "% of gaps within" : "% of requests within",
                    .is_log_x = true,
                    .y_is_percent = true},
                   lines));
    }
    plots("Distributions", drawn);
  }

  void percentile_table(const RunFigures& run) {
    std::vector<double> percentiles;
    for (const auto& [name, value] : run.figures) {
      double p = 0;
      if (std::sscanf(name.c_str(), "p%lf_ttft_ms", &p) == 1 && name == percentile_name(p) + "_ttft_ms")
        percentiles.push_back(p);
    }
    std::ranges::sort(percentiles);
    out_ += "<h2>Percentiles</h2>\n<div class=\"wide\"><table>\n<tr><th>milliseconds</th><th>mean</th>";
    for (const double p : percentiles) out_ += "<th>" + percentile_name(p) + "</th>";
    out_ += "</tr>\n";
    const std::pair<const char*, const char*> rows[] = {{"ttft", "time to first token"},
                                                        {"tpot", "time per output token"},
                                                        {"itl", "between tokens"},
                                                        {"e2el", "end to end"},
                                                        {"ttft_from_send", "first token, from the send"},
                                                        {"send_lateness", "lateness of sends"},
                                                        {"queue_time", "queue, server’s word"}};
    for (const auto& [name, about] : rows) {
      const std::string end = std::string("_") + name + "_ms";
      if (!std::isfinite(run.figure("mean" + end))) continue;
      out_ += std::string("<tr><td>") + about + "</td><td>" + figure_text(run.figure("mean" + end)) + "</td>";
      for (const double p : percentiles)
        out_ += "<td>" + figure_text(run.figure(percentile_name(p) + end)) + "</td>";
      out_ += "</tr>\n";
    }
    out_ += "</table></div>\n";
  }

  void timelines() {
    for (size_t i = 0; i < std::min(runs_.size(), kMostTimelines); ++i) {
      const RunFigures& run = runs_[i];
      if (run.timeline.size() < 2) continue;
      const auto line = [&](const char* label, double TimelinePoint::*what, size_t colour,
                            bool is_dashed = false) {
        PlotLine made{.label = label, .colour = colour, .is_dashed = is_dashed};
        for (const TimelinePoint& point : run.timeline) made.points.emplace_back(point.at_s, point.*what);
        return made;
      };
      const std::string x = "seconds since the start";
      std::vector<PlotLine> requests = {line("arrived", &TimelinePoint::arrivals_per_s, 5, true),
                                        line("ended", &TimelinePoint::ends_per_s, 0)};
      if (run.failed > 0) requests.push_back(line("failed", &TimelinePoint::errors_per_s, 4));
      plots(runs_.size() > 1 ? "Timeline of " + html_escaped(run.label) : "Timeline",
            {svg_plot({.title = "Requests per second", .x_label = x}, requests),
             svg_plot({.title = "Tokens per second", .x_label = x},
                      {line("", &TimelinePoint::tokens_per_s, 0)}),
             svg_plot(
                 {.title = "Time to first token, by arrival", .x_label = x, .y_label = "ms"},
                 {line("p50", &TimelinePoint::ttft_p50_ms, 0), line("p99", &TimelinePoint::ttft_p99_ms, 1)}),
             svg_plot({.title = "Requests in flight", .x_label = x},
                      {line("", &TimelinePoint::in_flight, 0)})});
    }
  }

  const ReportFrame& frame_;
  const std::vector<RunFigures>& runs_;
  std::string out_;
};

}  // namespace

std::string html_report(const ReportFrame& frame, const std::vector<RunFigures>& runs) {
  return Page(frame, runs).write();
}

}  // namespace sluice::bench
