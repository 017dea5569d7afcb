// The flags of `sluice route`, each once: parsed, checked, printed. Names are those of the field where there
// is one. The environment is handed in by main as values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "router/io/discovery.h"
#include "router/io/dispatcher.h"
#include "router/io/dns_discovery.h"
#include "router/io/door.h"
#include "router/io/kubernetes_discovery.h"
#include "server/net/listener.h"
#include "server/net/tls_trust.h"

namespace sluice::router {

struct RouteOptions {
  std::vector<FoundReplica> replicas;
  std::string replicas_file;
  std::vector<FoundReplica> dns_patterns;
  DnsOptions dns;
  std::optional<KubernetesOptions> kubernetes;  // its trust is of kubernetes_ca_file
  std::string kubernetes_ca_file;
  TlsTrustOptions replica_trust;
  std::string access_log;  // "-": standard output; empty: none
  std::string log_level = "info";
  int shutdown_timeout_s = 30;
  DispatcherOptions dispatcher;
  ListenOptions listen;
  DoorOptions door;
};

struct RouteEnvironment {
  std::string replica_api_key, api_key;
  // What a pod is given: where the API server is, and the folder of its service account.
  std::string kubernetes_host, kubernetes_port;
  std::string service_account = "/var/run/secrets/kubernetes.io/serviceaccount";
};

struct ParsedRouteOptions {
  std::optional<RouteOptions> options;  // none: print `text` and exit with `exit_code`
  std::string text;
  int exit_code = 0;
};

ParsedRouteOptions parse_route_options(int argc, const char* const* argv,
                                       const RouteEnvironment& environment);

// One line of what is set, without keys.
std::string describe(const RouteOptions& options);

}  // namespace sluice::router
