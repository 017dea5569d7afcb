// The flags of the demand signal and of the door at which Kubernetes reads it. Part of the options.
#pragma once

#include <string>
#include <vector>

#include "router/io/demand_board.h"
#include "router/io/discovery.h"
#include "router/io/scale_target.h"
#include "server/net/listener.h"

namespace CLI {
class App;
}

namespace sluice::router {

// The Kubernetes metrics APIs, behind TLS at a port of their own: the API server, and nobody else, may ask.
struct MetricsApiOptions {
  int port = 0;  // 0: not served
  std::string host = "0.0.0.0";
  std::string certfile, keyfile;  // empty: a certificate of its own, signed by itself
  // Of the API server's own flags: who signs its front proxy's certificate, and which names that may have
  // (none: any). Without the file the cluster itself is asked.
  std::string requestheader_client_ca_file;
  std::vector<std::string> requestheader_allowed_names;
  std::string space;  // the namespace that is answered for; empty: any
};

// KEDA's external-push scaler: gRPC without TLS, for the cluster's own network. It tells nothing but demand.
struct KedaOptions {
  int port = 0;  // 0: not served
  std::string host = "0.0.0.0";
};

struct ScalingOptions {
  MetricsApiOptions metrics_api;
  KedaOptions keda;
  std::vector<ScaleTargetOptions> targets;  // that the router wakes; their namespace is the router's own
  bool pod_deletion_cost = false;
  std::vector<FoundReplica> peers;  // other routers before the same replicas
  std::string peer_service;         // or the Service of all of them, this one too

  // Something is asked of Kubernetes' API server.
  bool wants_kubernetes() const {
    return !targets.empty() || pod_deletion_cost || !peer_service.empty() ||
           (metrics_api.port != 0 && metrics_api.requestheader_client_ca_file.empty());
  }
};

// Flags as they stand, before they are checked together.
struct RawScaling {
  double predict_seconds = 0;
  double sleep_after = 0;
  std::vector<std::string> targets, peers;
};

void add_scaling_flags(CLI::App& app, DemandBoardOptions& demand, ScalingOptions& scaling, RawScaling& raw);
// An empty string when all is well.
std::string finish(DemandBoardOptions& demand, ScalingOptions& scaling, const RawScaling& raw);

}  // namespace sluice::router
