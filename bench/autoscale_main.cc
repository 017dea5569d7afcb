// Autoscaling signals side by side, replayed in virtual time through the exact arithmetic of the controllers
// that read them:
//   sluice bench autoscale --trace conversation_trace.jsonl
// Without --trace only the generated workloads run. docs/autoscaling.md reads the table.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "bench/autoscale_report.h"

namespace {

using namespace sluice;
using namespace sluice::autoscale;

struct Flags {
  std::string trace, json, html;
  double speed = 1;
  size_t limit = 0;
  std::vector<std::string> scenarios, only;
  std::vector<int> fixed;
  std::vector<double> scales;
  SignalOptions signal;
  DeploymentOptions deployment;
  double horizon = 300;
  double prefill_rate = ReplicaModel{}.prefill_tokens_per_second;
};

struct Scenario {
  std::string name;
  std::string about;
  Workload workload;
  Seconds season = 86'400;
};

bool wanted(const std::vector<std::string>& only, const std::string& name) {
  return only.empty() || std::ranges::find(only, name) != only.end();
}

Result<std::vector<Scenario>> scenarios(const Flags& flags) {
  std::vector<Scenario> all;
  const uint64_t seed = flags.deployment.seed;
  if (!flags.trace.empty() && wanted(flags.scenarios, "trace")) {
    auto workload = router_sim::read_trace(flags.trace, flags.speed, flags.limit, seed);
    if (!workload.ok()) return workload.error();
    all.push_back({"trace", "Mooncake's conversations", std::move(workload).value()});
  }
  const auto generated = [&](const char* name, const char* about, const Shape& shape) {
    if (wanted(flags.scenarios, name)) all.push_back({name, about, make_workload(shape, seed), shape.period});
  };
  generated("step", "0.5 requests/s, 8 from 12 to 48 min, 0.5",
            {.kind = Shape::Kind::kStep, .low = 0.5, .high = 8, .duration = 3600});
  generated("bursts", "2 requests/s, and 90 s of 8 in each quarter of an hour",
            {.kind = Shape::Kind::kBursts, .low = 2, .high = 8, .duration = 7200, .period = 900});
  generated("diurnal", "four days, each squeezed into six hours, of 0.2 to 4 requests/s of long prompts",
            {.kind = Shape::Kind::kDiurnal,
             .low = 0.2,
             .high = 4,
             .duration = 86'400,
             .period = 21'600,
             .question_tokens = 8000});
  return all;
}

ScenarioReport replay(const Scenario& scenario, const Flags& flags) {
  ScenarioReport all{.name = scenario.name, .about = scenario.about};
  DeploymentOptions deployment = flags.deployment;
  deployment.model.prefill_tokens_per_second = flags.prefill_rate;
  deployment.model.block_tokens = scenario.workload.block_tokens;
  const std::vector<int> needed = needed_replicas(scenario.workload, deployment.model);
  for (const Signal& signal : signals(flags.fixed)) {
    if (!wanted(flags.only, signal.name) && signal.fixed == 0) continue;
    for (const double scale : signal.fixed > 0 ? std::vector{1.0} : flags.scales) {
      DeploymentOptions options = deployment;
      if (signal.predicts) options.demand.forecast = {.horizon = flags.horizon, .season = scenario.season};
      if (signal.fixed > 0) options.first_replicas = signal.fixed;
      SignalOptions how = flags.signal;
      how.target_scale = scale;
      Deployment run(options, scenario.workload, needed, signal.make(how));
      all.rows.push_back({signal.name, signal.formula, signal.source, scale, signal.fixed > 0, run.run()});
      std::fprintf(stderr, "%s: %s x%g\n", scenario.name.c_str(), signal.name.c_str(), scale);
    }
  }
  return all;
}

bool write(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  const bool good = (std::ofstream(path, std::ios::binary) << text).flush().good();
  if (!good) std::fprintf(stderr, "Cannot write %s.\n", path.c_str());
  return good;
}

void add_flags(CLI::App& app, Flags& flags) {
  const auto seconds = CLI::Range(0.0, 86'400.0);
  app.add_option("--trace", flags.trace, "requests in Mooncake's JSON lines; adds the scenario trace");
  app.add_option("--speed", flags.speed, "of the trace")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str();
  app.add_option("--limit", flags.limit, "only the trace's first so many requests");
  app.add_option("--scenario", flags.scenarios, "only these: trace, step, bursts, diurnal");
  app.add_option("--signal", flags.only, "only these: sluice, queue, queue+running, concurrency, kv, ...");
  app.add_option("--fixed", flags.fixed, "also so many replicas for ever; several")
      ->check(CLI::Range(1, 512));
  app.add_option("--target-scale", flags.scales,
                 "each target times these, so that signals can be compared at equal replica-hours")
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--min", flags.signal.bounds.least, "fewest replicas")->check(CLI::Range(1, 512));
  app.add_option("--max", flags.signal.bounds.most, "most")->check(CLI::Range(1, 512))->capture_default_str();
  app.add_option("--tolerance", flags.signal.tolerance, "of the HPA")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--stabilization", flags.signal.stabilization, "seconds, of the HPA before it falls")
      ->check(seconds)
      ->capture_default_str();
  app.add_option("--direct-lag", flags.signal.direct_lag, "age of a number that the router serves itself")
      ->check(seconds)
      ->capture_default_str();
  app.add_option("--prometheus-lag", flags.signal.prometheus_lag,
                 "of one through Prometheus and adapter or KEDA")
      ->check(CLI::Range(0.0, 500.0))
      ->capture_default_str();
  app.add_option("--cold-start", flags.deployment.cold_start,
                 "seconds from a replica's creation to readiness")
      ->check(seconds)
      ->capture_default_str();
  app.add_option("--prefill-rate", flags.prefill_rate, "prompt tokens a second of a replica")
      ->check(CLI::Range(1.0, 1e9))
      ->capture_default_str();
  app.add_option("--kv-tokens", flags.deployment.model.kv_tokens, "that a replica's cache holds")
      ->capture_default_str();
  app.add_option("--max-running", flags.deployment.model.max_running, "requests that a replica runs at once")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--slo-ttft", flags.deployment.slo.ttft, "seconds to the first token that count as in time")
      ->check(seconds)
      ->capture_default_str();
  app.add_option("--slo-itl", flags.deployment.slo.itl, "between tokens, an answer's mean")
      ->check(seconds)
      ->capture_default_str();
  app.add_option("--ttft-target", flags.deployment.demand.demand.ttft_target, "of sluice route")
      ->check(CLI::Range(0.001, 86'400.0))
      ->capture_default_str();
  app.add_option("--horizon", flags.horizon, "of the forecast, seconds")
      ->check(seconds)
      ->capture_default_str();
  app.add_option("--seed", flags.deployment.seed, "of arrivals and tie-breaks");
  app.add_option("--json", flags.json, "file for all figures");
  app.add_option("--html", flags.html, "file for a page with drawings");
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  flags.deployment.first_replicas = 0;
  CLI::App app("Autoscaling signals side by side, in virtual time over simulated replicas.");
  add_flags(app, flags);
  CLI11_PARSE(app, argc, argv);
  if (flags.signal.bounds.least > flags.signal.bounds.most) {
    std::fputs("--min is greater than --max.\n", stderr);
    return 2;
  }
  if (flags.scales.empty()) flags.scales = {1};
  flags.deployment.first_replicas = flags.signal.bounds.least;
  router::RouterCoreOptions& core = flags.deployment.core;
  core.seed = flags.deployment.seed;
  core.index = {.budget_bytes = 64 << 20, .secret = flags.deployment.seed};
  core.dictionary_bytes = 1 << 20;
  core.hedge_factor = 0;
  core.default_deadline = 120;  // --first-byte-timeout

  std::string command = "sluice bench autoscale";
  for (int i = 1; i < argc; ++i) command += std::string(" ") + argv[i];
  auto todo = scenarios(flags);
  if (!todo.ok()) {
    std::fprintf(stderr, "%s\n", todo.error().message.c_str());
    return 1;
  }
  std::vector<ScenarioReport> reports;
  for (const Scenario& scenario : *todo) {
    if (scenario.workload.requests.empty()) continue;
    reports.push_back(replay(scenario, flags));
    std::fputs(table_of(reports.back()).c_str(), stdout);
    if (flags.scales.size() > 1) std::fputs(comparison_of(reports.back(), "sluice").c_str(), stdout);
    std::fflush(stdout);
  }
  return write(flags.json, json_of(reports, command)) && write(flags.html, html_of(reports, command)) ? 0 : 1;
}
