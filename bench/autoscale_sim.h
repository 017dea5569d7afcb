// A deployment in virtual time: requests, the router's core and its demand board (the very code that runs in
// production), replicas that take time to start and drain before they go, and a scaler that looks at what it
// can see. Deterministic from its seed; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <queue>
#include <vector>

#include "bench/autoscale_signals.h"
#include "bench/autoscale_workload.h"
#include "router/core/router_core.h"
#include "router/io/demand_board.h"

namespace sluice::autoscale {

struct Slo {
  Seconds ttft = 5;
  Seconds itl = 0.2;  // mean over an answer's tokens
};

struct DeploymentOptions {
  ReplicaModel model;
  router::RouterCoreOptions core;
  router::DemandBoardOptions demand;
  Seconds cold_start = 90;  // from creation to readiness, give or take a tenth
  Seconds network_delay = 0.0005;
  Slo slo;
  int first_replicas = 1;  // there and ready at the beginning
  uint64_t seed = 1;
};

// How the replicas stood, once in ten seconds.
struct Moment {
  Seconds at = 0;
  int desired = 0, ready = 0, held = 0, needed = 0;  // held: loading and draining ones too
};

struct AutoscaleReport {
  size_t requests = 0;
  size_t lost = 0;                     // refused: no replica in time, or a full queue
  double slo = 0;                      // share of all requests that were answered in time, both ways
  double ttft_mean = 0, ttft_p99 = 0;  // seconds, of those that got a first token
  double itl_mean = 0, itl_p99 = 0;
  double replica_hours = 0;      // of what is held, from creation until it is gone
  int peak = 0;                  // most that were held
  double overshoot = 0;          // replica-hours beyond what was needed, by those needed
  int flaps = 0;                 // turns from up to down or back of what was asked for
  Seconds longest_shortage = 0;  // with fewer ready than needed: after a step, the time to scale
  double short_share = 0;        // of all the time
  std::vector<Moment> moments;
};

class Deployment {
 public:
  // `needed`: of needed_replicas. Both outlive it.
  Deployment(const DeploymentOptions& options, const Workload& workload, const std::vector<int>& needed,
             std::unique_ptr<Scaler> scaler);
  ~Deployment();
  AutoscaleReport run();

 private:
  struct Event;
  struct Later {
    bool operator()(const Event& a, const Event& b) const;
  };
  enum class PodState : uint8_t { kLoading, kReady, kDraining, kGone };
  struct Pod {
    PodState state = PodState::kLoading;
    std::string name;
    std::unique_ptr<router_sim::SimReplica> replica;
    router::ReplicaId id = router::kNoReplica;
    uint64_t scheduled = 0;  // number of the step event that counts
    Seconds created = 0, ready_at = 0, gone_at = 0;
  };
  struct Client {
    Seconds first_token = router::kNever, end = router::kNever;
    router::Attempt relayed = 0;
    bool is_lost = false, has_ended = false;
  };

  void post(Event event);
  void handle(const Event& event);
  void act();
  void arrive(size_t index);
  void schedule_step(size_t pod);
  void step(size_t pod);
  void finished(const Event& event);
  void second();
  void look();
  void scale(int desired);
  void create_pod(Seconds cold_start);
  void pod_is_ready(size_t pod);
  void release_pod();
  void remove_pod(size_t pod);
  LoadSample sample() const;
  size_t pod_of(router::ReplicaId id) const;
  int held() const;
  int staying() const;
  int ready() const;
  AutoscaleReport report() const;

  const DeploymentOptions options_;
  const Workload& workload_;
  const std::vector<int>& needed_;
  const std::unique_ptr<Scaler> scaler_;
  router::RouterCore core_;
  router::DemandBoard board_;
  LoadHistory history_;
  std::vector<Pod> pods_;  // those that are gone as well
  std::vector<size_t> living_;
  std::vector<Client> clients_;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::vector<router::Action> actions_;
  std::vector<Moment> moments_;
  Seconds now_ = 0;
  Seconds wakeup_ = router::kNever;
  Seconds ends_ = 0;
  uint64_t numbers_ = 0;
  uint64_t random_;
  size_t ended_ = 0;
  int desired_ = 0, direction_ = 0, flaps_ = 0, peak_ = 0;
};

}  // namespace sluice::autoscale
