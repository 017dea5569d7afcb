#include "bench/autoscale_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::autoscale {
namespace {

std::string label_of(const Row& row) {
  return row.target_scale == 1 ? row.signal : fmt::format("{} x{:g}", row.signal, row.target_scale);
}

std::vector<std::string> signals_of(const std::vector<Row>& rows) {
  std::vector<std::string> names;
  for (const Row& row : rows) {
    const std::string name = row.is_fixed ? "fixed" : row.signal;
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

// One line of a drawing 900 wide and 160 high.
std::string path_of(const std::vector<Moment>& moments, int Moment::*value, double seconds, double most) {
  std::string path;
  for (const Moment& moment : moments) {
    const double x = 900 * moment.at / seconds, y = 158 - 156 * moment.*value / most;
    path += path.empty() ? fmt::format("M{:.1f} {:.1f}", x, y) : fmt::format("H{:.1f}V{:.1f}", x, y);
  }
  return path;
}

std::string drawing_of(const Row& row) {
  const std::vector<Moment>& moments = row.report.moments;
  if (moments.empty()) return {};
  int most = 1;
  for (const Moment& moment : moments) most = std::max({most, moment.held, moment.needed});
  const double seconds = std::max(moments.back().at, 1.0);
  std::string out = fmt::format(
      "<figure><figcaption>{}: {:.1f} % in time, {:.2f} replica-hours, at most {} replicas in {:.0f} s"
      "</figcaption><svg viewBox='0 0 900 160'>",
      escape(label_of(row)), 100 * row.report.slo, row.report.replica_hours, most, seconds);
  const auto line = [&](int Moment::*value, const char* style) {
    out += fmt::format("<path class='{}' d='{}'/>", style, path_of(moments, value, seconds, most));
  };
  line(&Moment::needed, "needed");
  line(&Moment::held, "held");
  line(&Moment::ready, "ready");
  return out + "</svg></figure>\n";
}

}  // namespace

std::string table_of(const ScenarioReport& scenario) {
  std::string out =
      fmt::format("\n{}: {}\n  {:<20} {:>6} {:>8} {:>8} {:>8} {:>9} {:>6} {:>7} {:>6} {:>5} {:>5} {:>5}\n",
                  scenario.name, scenario.about, "signal", "SLO %", "TTFT s", "p99", "ITL p99", "replica-h",
                  "over", "short s", "short", "flaps", "peak", "lost");
  for (const Row& row : scenario.rows) {
    const AutoscaleReport& r = row.report;
    out += fmt::format(
        "  {:<20} {:>6.2f} {:>8.3f} {:>8.2f} {:>8.3f} {:>9.3f} {:>6.2f} {:>7.0f} {:>6.3f} {:>5} {:>5} "
        "{:>5}\n",
        label_of(row), 100 * r.slo, r.ttft_mean, r.ttft_p99, r.itl_p99, r.replica_hours, r.overshoot,
        r.longest_shortage, r.short_share, r.flaps, r.peak, r.lost);
  }
  return out;
}

double slo_within(const std::vector<Row>& rows, const std::string& signal, double replica_hours) {
  std::vector<std::pair<double, double>> points;  // hours, share
  for (const Row& row : rows) {
    if ((row.is_fixed ? "fixed" : row.signal) == signal)
      points.emplace_back(row.report.replica_hours, row.report.slo);
  }
  std::ranges::sort(points);
  double best = -1;
  std::pair<double, double> last{};
  for (const auto& [hours, share] : points) {
    if (hours <= replica_hours) {
      if (share > best) last = {hours, share};
      best = std::max(best, share);
      continue;
    }
    if (best < 0) return -1;
    if (share > best) {
      best = std::max(
          best, last.second + (share - last.second) * (replica_hours - last.first) / (hours - last.first));
    }
  }
  return best;
}

std::string comparison_of(const ScenarioReport& scenario, const std::string& ours) {
  const std::vector<std::string> names = signals_of(scenario.rows);
  std::string out = fmt::format("\n{}: SLO % at equal replica-hours\n  {:>9}", scenario.name, "replica-h");
  for (const std::string& name : names) out += fmt::format(" {:>15}", name);
  out += '\n';
  std::vector<double> hours;
  for (const Row& row : scenario.rows) {
    if (row.signal == ours) hours.push_back(row.report.replica_hours);
  }
  std::ranges::sort(hours);
  for (const double each : hours) {
    out += fmt::format("  {:>9.3f}", each);
    for (const std::string& name : names) {
      const double share = slo_within(scenario.rows, name, each);
      out += share < 0 ? fmt::format(" {:>15}", "-") : fmt::format(" {:>15.2f}", 100 * share);
    }
    out += '\n';
  }
  return out;
}

std::string json_of(const std::vector<ScenarioReport>& scenarios, const std::string& command) {
  nlohmann::ordered_json all = {{"command", command}, {"scenarios", nlohmann::ordered_json::array()}};
  for (const ScenarioReport& scenario : scenarios) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Row& row : scenario.rows) {
      const AutoscaleReport& r = row.report;
      rows.push_back({{"signal", row.signal},
                      {"formula", row.formula},
                      {"source", row.source},
                      {"target_scale", row.target_scale},
                      {"requests", r.requests},
                      {"lost", r.lost},
                      {"slo_attainment", r.slo},
                      {"ttft_mean_s", r.ttft_mean},
                      {"ttft_p99_s", r.ttft_p99},
                      {"itl_mean_s", r.itl_mean},
                      {"itl_p99_s", r.itl_p99},
                      {"replica_hours", r.replica_hours},
                      {"peak_replicas", r.peak},
                      {"overshoot", r.overshoot},
                      {"flaps", r.flaps},
                      {"longest_shortage_s", r.longest_shortage},
                      {"short_share", r.short_share}});
    }
    all["scenarios"].push_back({{"name", scenario.name}, {"about", scenario.about}, {"rows", rows}});
  }
  return all.dump(1) + "\n";
}

std::string html_of(const std::vector<ScenarioReport>& scenarios, const std::string& command) {
  std::string out =
      "<!doctype html><meta charset='utf-8'><title>Autoscaling, replayed</title><style>"
      "body{font:14px sans-serif;max-width:920px;margin:2em auto}figure{margin:1em 0}"
      "svg{width:100%;background:#f6f6f6}path{fill:none;stroke-width:1.2}"
      ".needed{stroke:#bbb}.held{stroke:#e08a00}.ready{stroke:#0a7a3c}pre{font-size:12px;overflow-x:auto}"
      "</style><h1>Autoscaling, replayed</h1><p>Grey: replicas that the work needs, seen by who knows the "
      "future. Orange: held, loading and draining ones too. Green: ready.</p>";
  out += "<pre>" + escape(command) + "</pre>\n";
  for (const ScenarioReport& scenario : scenarios) {
    out += "<h2>" + escape(scenario.name) + "</h2><pre>" + escape(table_of(scenario)) + "</pre>\n";
    for (const Row& row : scenario.rows) {
      if (!row.is_fixed && row.target_scale == 1) out += drawing_of(row);
    }
  }
  return out;
}

}  // namespace sluice::autoscale
