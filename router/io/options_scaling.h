// The flags of the demand signal and of the door at which Kubernetes reads it. Part of the options.
#pragma once

#include <string>
#include <vector>

#include "router/io/demand_board.h"
#include "server/net/listener.h"

namespace CLI {
class App;
}

namespace sluice::router {

// The Kubernetes metrics APIs, behind TLS at a port of their own: the API server, and nobody else, may ask.
struct MetricsApiOptions {
  int port = 0;  // 0: not served
  std::string host = "0.0.0.0";
  std::string certfile, keyfile;
  // Of the API server's own flags: who signs its front proxy's certificate, and which names that may have
  // (none: any).
  std::string requestheader_client_ca_file;
  std::vector<std::string> requestheader_allowed_names;
  std::string space;  // the namespace that is answered for; empty: any
};

void add_scaling_flags(CLI::App& app, DemandBoardOptions& demand, MetricsApiOptions& api,
                       double& predict_seconds);
// An empty string when all is well.
std::string finish(DemandBoardOptions& demand, const MetricsApiOptions& api, double predict_seconds);

}  // namespace sluice::router
