// The router's core (router/core) in virtual time over simulated replicas: the very code that routes in
// production, with faults injected. Deterministic from its seed; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "bench/router_sim_replica.h"
#include "bench/router_sim_workload.h"
#include "router/core/router_core.h"

namespace sluice::router_sim {

struct Faults {
  double event_loss = 0;   // of KV events, each by itself
  bool no_events = false;  // replicas of another make: APPROXIMATE
  Seconds event_delay = 0.005;
  Seconds kill_at = -1;  // replica 0 dies then, and comes back empty after `down_seconds`
  Seconds down_seconds = 30;
  Seconds slow_at = -1;  // replica 1 becomes three times as slow
  Seconds router_restart_at =
      -1;  // a new router knows nothing; requests in flight are lost to it and sent again
};

struct SimOptions {
  int replicas = 8;
  ReplicaModel model;
  std::vector<double> speeds;  // of each replica against the model; empty: all 1
  router::RouterCoreOptions core;
  Faults faults;
  Seconds network_delay = 0.0005;
  uint64_t seed = 1;
};

struct SimReport {
  size_t requests = 0;
  size_t lost = 0;  // rejected or failed
  double ttft_mean = 0, ttft_p50 = 0, ttft_p99 = 0;
  double e2e_mean = 0;
  double hit_rate = 0;         // of prompt tokens, as the replicas counted
  double regret_mean = 0;      // seconds over the soonest start that the router saw, for each decision
  double balance = 0;          // Jain's index over the replicas' busy time per speed
  double tenant_fairness = 1;  // Jain's index over the tenants' mean TTFT
  uint64_t retries = 0, hedges = 0, repairs = 0;
};

class Simulation {
 public:
  Simulation(const SimOptions& options, const Workload& workload);
  ~Simulation();
  SimReport run();

 private:
  struct Event;
  struct Later {
    bool operator()(const Event& a, const Event& b) const;
  };
  struct Node {
    std::unique_ptr<SimReplica> replica;
    router::ReplicaId id = router::kNoReplica;
    uint64_t scheduled = 0;  // number of the step event that counts
    Seconds line_free = 0;   // its event stream keeps its order
    bool up = false;
    uint64_t admitted = 0, cached = 0;  // of lives before this one
    double busy = 0;
  };
  struct Client {
    Seconds at = 0;
    Seconds first_token = router::kNever;
    Seconds end = router::kNever;
    router::Attempt relayed = 0;
    bool lost = false;
    bool ended = false;
  };

  void start_router();
  void start_node(size_t index);
  void stop_node(size_t index);
  void post(Event event);
  void schedule_step(size_t index);
  void handle(const Event& event);
  void arrive(size_t index);
  void act();
  void tell(size_t node, std::vector<KvEvent> events, bool whole);
  size_t node_of(router::ReplicaId id) const;
  SimReport report() const;

  const SimOptions options_;
  const Workload& workload_;
  std::unique_ptr<router::RouterCore> core_;
  std::vector<Node> nodes_;
  std::vector<Client> clients_;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::vector<router::Action> actions_;
  Seconds now_ = 0;
  Seconds wakeup_ = router::kNever;
  uint64_t numbers_ = 0;
  uint64_t epochs_ = 100;
  uint64_t random_;
  size_t ended_ = 0;
  uint32_t router_life_ = 0;
  router::RouterStats past_;
};

}  // namespace sluice::router_sim
