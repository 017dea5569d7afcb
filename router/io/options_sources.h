// The flags that say where replicas come from, and by which certificates they are known. Part of the options.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "router/io/discovery.h"
#include "router/io/dns_discovery.h"
#include "router/io/kubernetes_discovery.h"
#include "server/net/tls_trust.h"

namespace CLI {
class App;
}

namespace sluice::router {

struct SourceOptions {
  std::vector<FoundReplica> replicas;
  std::string replicas_file;
  std::vector<FoundReplica> dns_patterns;
  DnsOptions dns;
  std::optional<KubernetesApiOptions>
      kubernetes_api;  // whose trust is of kubernetes_ca_file; none: no cluster
  std::string kubernetes_ca_file;
  std::string kubernetes_space = "default";     // our namespace there
  std::optional<KubernetesOptions> kubernetes;  // its replicas
  TlsTrustOptions trust;                        // to replicas
};

// What a pod is given: where the API server is, and the folder of its service account.
struct SourceEnvironment {
  std::string kubernetes_host, kubernetes_port;
  std::string service_account = "/var/run/secrets/kubernetes.io/serviceaccount";
};

// Flags as they stand, before they are checked together.
struct RawSources {
  std::vector<std::string> replicas, dns_names;
  std::string kubernetes_api, kubernetes_space, kubernetes_token_file;
  KubernetesOptions kubernetes;
  bool wants_kubernetes = false;  // something else than replicas is asked of the API server
  std::string server_name;
  bool insecure = false;
};

void add_source_flags(CLI::App& app, SourceOptions& options, RawSources& raw);
// What is not said comes from where a pod finds it. An empty string when all is well.
std::string finish(SourceOptions& options, const RawSources& raw, const SourceEnvironment& environment);
// "replicas 2 and of Kubernetes, Service llm in namespace default".
std::string describe(const SourceOptions& options);

}  // namespace sluice::router
