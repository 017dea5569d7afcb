// Compares policies side by side in virtual time:
//   sluice bench router-sim --trace conversation_trace.jsonl
// Without --trace only the generated workloads run. docs/routing.md reads the table.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <limits>

#include "bench/router_sim.h"

namespace {

using namespace sluice;
using namespace sluice::router_sim;
using router::PolicyName;
using router::PolicyOptions;

struct Flags {
  std::string trace;
  std::vector<std::string> only;
  std::vector<std::string> policies;
  std::string fault;
  size_t limit = 0;
  bool told_rate = false;
  uint64_t seed = 1;
  router::CostOptions cost;
  Seconds waiting_memory = router::RouterCoreOptions{}.waiting_memory;
};

struct Scenario {
  std::string name;
  std::function<Result<Workload>()> workload;
  ReplicaModel model;
  std::vector<double> speeds;
};

std::vector<Scenario> scenarios(const Flags& flags) {
  std::vector<Scenario> all;
  const std::vector<double> unequal = {1.5, 1.5, 1.5, 1.5, 0.5, 0.5, 0.5, 0.5};
  const auto trace = [&](double speed, uint64_t kv_tokens, std::vector<double> speeds, std::string name) {
    if (flags.trace.empty()) return;
    all.push_back({.name = std::move(name),
                   .workload = [=] { return read_trace(flags.trace, speed, flags.limit, flags.seed); },
                   .model = {.kv_tokens = kv_tokens},
                   .speeds = std::move(speeds)});
  };
  trace(1.6, 2'000'000, {}, "trace-1.6");
  trace(2.0, 8'200'000, {}, "trace-2.0");
  trace(1.6, 2'000'000, unequal, "unequal-1.6");
  trace(2.0, 8'200'000, unequal, "unequal-2.0");
  ReplicaModel fast{.prefill_tokens_per_second = 15'928, .chunk_tokens = 8192, .block_tokens = 64};
  const auto generated = [&](std::string name, uint64_t kv_tokens, std::vector<double> speeds, auto make) {
    fast.kv_tokens = kv_tokens;
    all.push_back({.name = std::move(name),
                   .workload = [=]() -> Result<Workload> { return make(); },
                   .model = fast,
                   .speeds = std::move(speeds)});
  };
  const uint64_t seed = flags.seed;
  generated("shared-prefix", 250'000, {}, [=] { return shared_prefix({.requests_per_second = 60}, seed); });
  generated("zipf", 250'000, {}, [=] { return shared_prefix({.requests_per_second = 45, .zipf = 1}, seed); });
  generated("bursts", 250'000, {},
            [=] { return shared_prefix({.requests_per_second = 40, .bursts = true}, seed); });
  generated("unequal-shared", 250'000, unequal,
            [=] { return shared_prefix({.requests_per_second = 50}, seed); });
  generated("multi-turn", 250'000, {}, [=] { return multi_turn({.users = 900, .think_seconds = 10}, seed); });
  generated("tenants", 250'000, {},
            [=] { return multi_turn({.users = 600, .turns = 6, .tenants = 4}, seed); });
  return all;
}

struct Contestant {
  std::string name;
  PolicyOptions policy;
};

std::vector<Contestant> contestants(const Flags& flags, const ReplicaModel& model) {
  std::vector<Contestant> all;
  for (int i = 0; i < router::kPolicyCount; ++i) {
    PolicyOptions policy{.name = static_cast<PolicyName>(i)};
    policy.cost = flags.cost;
    // llm-d has its users measure the rate and derive the gate from it: at its best.
    policy.sticky.peak_prefill_tokens_per_second = model.prefill_tokens_per_second;
    if (model.prefill_tokens_per_second < 10'000) policy.sticky.max_ttft_penalty_seconds = 14;
    all.push_back({router::name_of(policy.name), policy});
    if (policy.name == PolicyName::kLmetric) {
      policy.lmetric_queued = false;
      all.push_back({"lmetric (own)", policy});
    }
    if (policy.name == PolicyName::kCacheAware) {
      policy.cache_aware = {
          .cache_threshold = 0.5, .balance_abs_threshold = 32, .balance_rel_threshold = 1.1};
      all.push_back({"cache_aware (lib)", policy});
    }
  }
  return all;
}

bool wanted(const std::vector<std::string>& only, const std::string& name) {
  return only.empty() || std::ranges::find(only, name) != only.end();
}

void run(const Scenario& scenario, const Flags& flags) {
  auto workload = scenario.workload();
  if (!workload.ok()) {
    std::fprintf(stderr, "%s\n", workload.error().message.c_str());
    std::exit(1);
  }
  const Seconds length = workload->requests.empty() ? 0 : workload->requests.back().at;
  std::printf("\n%s: %zu requests in %.0f s; hit rate of an endless cache %.3f\n", scenario.name.c_str(),
              workload->requests.size(), length, workload->infinite_hit_rate());
  std::printf("  %-18s %8s %8s %8s %8s %6s %8s %8s %8s %6s\n", "policy", "ttft", "p50", "p99", "e2e", "hits",
              "regret", "balance", "tenants", "lost");
  for (const Contestant& contestant : contestants(flags, scenario.model)) {
    if (!wanted(flags.policies, contestant.name)) continue;
    SimOptions options{.model = scenario.model, .speeds = scenario.speeds, .seed = flags.seed};
    options.core.policy = contestant.policy;
    options.core.index = {.budget_bytes = 128 << 20, .secret = flags.seed};
    options.core.dictionary_bytes = 1 << 20;
    options.core.seed = flags.seed;
    options.core.default_deadline = 1e9;  // whoever waits is counted with his wait
    options.core.max_replica_wait = 1e9;
    options.core.hedge_factor = 0;
    options.core.waiting_memory = flags.waiting_memory;
    // A rate that is wrong by far, unless told: the learner has to find each replica's.
    if (!flags.told_rate) options.core.fleet.prior.token_seconds = 1 / 4000.0;
    if (flags.told_rate)
      options.core.fleet.prior.token_seconds = 1 / scenario.model.prefill_tokens_per_second;
    Faults& faults = options.faults;
    if (flags.fault == "event-loss") faults.event_loss = 0.01;
    if (flags.fault == "no-events") faults.no_events = true;
    if (flags.fault == "stale") faults.event_delay = 5;
    if (flags.fault == "death") faults.kill_at = length / 3;
    if (flags.fault == "slow-node") faults.slow_at = length / 3;
    if (flags.fault == "router-restart") faults.router_restart_at = length / 3;
    Simulation simulation(options, *workload);
    const SimReport r = simulation.run();
    std::printf("  %-18s %8.3f %8.3f %8.2f %8.2f %6.3f %8.3f %8.4f %8.4f %6zu\n", contestant.name.c_str(),
                r.ttft_mean, r.ttft_p50, r.ttft_p99, r.e2e_mean, r.hit_rate, r.regret_mean, r.balance,
                r.tenant_fairness, r.lost);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Routing policies side by side, in virtual time over simulated replicas.");
  app.add_option("--trace", flags.trace, "requests in Mooncake's JSON lines; adds the trace scenarios");
  app.add_option("--scenario", flags.only, "only these: trace-1.6, shared-prefix, multi-turn, ...");
  app.add_option("--policy", flags.policies, "only these policies");
  app.add_option("--fault", flags.fault, "injects one")
      ->check(CLI::IsMember({"event-loss", "no-events", "stale", "death", "slow-node", "router-restart"}));
  app.add_flag("--told-rate", flags.told_rate,
               "the router starts with the replicas' nominal rate, not far from it");
  app.add_option("--limit", flags.limit, "only the trace's first so many requests");
  app.add_option("--seed", flags.seed, "of arrivals and tie-breaks");
  app.add_option("--recompute-floor", flags.cost.recompute_floor,
                 "the cost policy's price on work done twice");
  app.add_option("--recompute-per-waiting", flags.cost.recompute_per_waiting,
                 "and more of it for each who waits");
  app.add_option("--recompute-max", flags.cost.recompute_max, "and its bound");
  app.add_option("--decode-weight", flags.cost.decode_weight, "of the decode step that a first token shares");
  app.add_option("--tie-share", flags.cost.tie_share, "of a prompt's time, within which totals are equal");
  app.add_option("--kv-weight", flags.cost.kv_weight, "of the price on KV memory that runs short");
  app.add_option("--waiting-memory", flags.waiting_memory, "seconds over which waiting prompts are averaged");
  CLI11_PARSE(app, argc, argv);
  for (const Scenario& scenario : scenarios(flags)) {
    if (wanted(flags.only, scenario.name)) run(scenario, flags);
  }
  return 0;
}
