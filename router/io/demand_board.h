// The demand signal of each model, made anew each second from the core's numbers, from what relays saw and
// from which replicas are on their way (server/scaling has the formulas). A model that was seen once, or is
// named by --model, is told of for ever: its demand is 0, not absent. Before the first one all that is asked
// for is told of under no name. One I/O thread.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "router/core/model_load.h"
#include "router/core/router_core.h"
#include "server/scaling/cold_starts.h"
#include "server/scaling/concurrency_knee.h"
#include "server/scaling/demand.h"
#include "server/scaling/forecast.h"
#include "server/scaling/metrics_api.h"
#include "server/scaling/recent_quantile.h"

namespace sluice::router {

struct DemandBoardOptions {
  DemandOptions demand;
  std::vector<std::string> models;          // told of from the start
  std::optional<ForecastOptions> forecast;  // --predict-traffic
};

struct ModelDemand {
  ModelLoad counts;  // this router's
  Load own;          // this router's share: of the backlog only what has no replica yet
  Load load;         // with what the other routers said
  Demand demand;
  Seconds oldest = 0;          // age of the request that waits longest in the router
  double forecast = 0;         // replicas that the load to come asks for; 0: no forecast
  bool forecast_acts = false;  // it is trusted: it may raise the demand
};

// A replica that loads does so for somebody: who scales to zero must leave it alone.
inline bool is_active(const ModelDemand& told) {
  return told.load.in_flight > 0 || told.load.loading > 0;
}

class DemandBoard {
 public:
  explicit DemandBoard(DemandBoardOptions options);

  // --- what happens ---
  // Before the core hears of it. The first one after a rest makes it due: a scaler at zero waits for that.
  void arrived(const std::string& model);
  void first_token(const std::string& model, Seconds after, Seconds now);
  // An answer of so many tokens ended, `step` seconds apart, with `running` requests on its replica.
  void answered(const std::string& model, double running, uint32_t tokens, Seconds step, Seconds now);
  // A replica was seen, of the models that it will serve as far as known. `is_pending`: its source says that
  // it is not ready; else it counts as on its way when it has not answered for some seconds.
  void coming(const std::string& name, const std::vector<std::string>& models, bool is_pending, Seconds now);
  void came(const std::string& name, Seconds now);
  void gone(const std::string& name);
  // Another router before the same replicas told its share, by model.
  void peer_said(const std::string& peer, std::map<std::string, Load> share, Seconds now);
  void peer_left(const std::string& peer) { peers_.erase(peer); }

  // --- once a second, and when replicas came, went or changed ---
  bool is_due(const RouterCore& core, Seconds now) const {
    return now >= next_ || core.fleet().version() != fleet_version_;
  }
  // `oldest`: since when the longest waiting request of each model waits.
  void make(const RouterCore& core, const std::map<std::string, Seconds>& oldest, Seconds now);

  const std::map<std::string, ModelDemand>& models() const { return told_; }
  const ColdStarts& cold_starts() const { return cold_starts_; }
  // When the next replica of that model is there, if it takes as long as nine of ten did; kNever: none is on
  // its way, or nobody has seen one come.
  Seconds next_ready_in(const std::string& model, Seconds now) const;
  // As the Kubernetes metrics APIs tell them.
  std::vector<MetricSeries> series() const;

 private:
  static constexpr size_t kMaxModels = 1000;
  static constexpr size_t kWindow = 15;  // seconds over which offered work is taken
  struct Model {
    ConcurrencyKnee knee;
    RecentQuantile ttft, itl;
    std::optional<Forecast> forecast;
    double mean_tokens = 0;   // of an answer
    double decode_work = 0;   // of all that arrived, in seconds of one replica
    double last_prefill = 0;  // as the core counted it
    std::deque<double> work;  // what came in each of the last seconds
    double pending_work = 0;  // since the last second
  };
  struct Coming {
    Seconds since = 0;
    std::vector<std::string> models;
    bool is_pending = false;
  };

  struct Peer {
    Seconds at = 0;
    std::map<std::string, Load> share;
  };

  Model* model_of(const std::string& name);
  bool is_coming(const Coming& coming, const std::string& model, Seconds now) const;
  int coming_for(const std::string& model, Seconds now) const;

  const DemandBoardOptions options_;
  std::map<std::string, Model> models_;
  std::map<std::string, ModelDemand> told_;
  std::map<std::string, Coming> coming_;
  std::map<std::string, Peer> peers_;
  ColdStarts cold_starts_;
  Seconds next_ = 0;
  Seconds second_began_ = -kNever;  // of the work that is counted in seconds
  uint64_t fleet_version_ = 0;
};

// Of a model, for KEDA's metrics-api and for people: {"model":…,"demand_replicas":…,…}.
std::string demand_json(const std::string& model, const ModelDemand& demand, const ColdStarts& cold_starts);

}  // namespace sluice::router
