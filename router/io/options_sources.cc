#include "router/io/options_sources.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "router/io/options_flags.h"
#include "server/net/url.h"

namespace sluice::router {
namespace {

void add_written_flags(CLI::App& app, SourceOptions& o, RawSources& raw) {
  app.add_option(
         "--replica", raw.replicas,
         "A replica: http[s]://HOST:PORT[,weight=N][,max-running=N][,model=NAME][,name=NAME]. Repeat it "
         "for each.")
      ->group("Replicas");
  app.add_option("--replicas-file", o.replicas_file,
                 "File with one replica a line, as --replica takes them; read anew when it changes.")
      ->group("Replicas");
}

void add_kubernetes_flags(CLI::App& app, SourceOptions& o, RawSources& raw) {
  constexpr const char* kGroup = "Replicas from Kubernetes";
  app.add_option("--k8s-service", raw.kubernetes.service,
                 "Name of a Service: the endpoints of its EndpointSlices are replicas.")
      ->group(kGroup);
  app.add_option("--k8s-label-selector", raw.kubernetes.label_selector,
                 "Or EndpointSlices by their labels, as in app=llm,tier!=test; they have their Service's.")
      ->group(kGroup);
  app.add_option("--k8s-namespace", raw.kubernetes_space,
                 "Where they are. Default: the router's own namespace, or 'default' outside of a cluster.")
      ->group(kGroup);
  app.add_option("--k8s-port", raw.kubernetes.port,
                 "Their port by name or number. Default: the only one, or the one named http or https.")
      ->group(kGroup);
  app.add_option("--k8s-api-server", raw.kubernetes_api,
                 "URL of the API server. Default: the cluster's in which the router runs.")
      ->group(kGroup);
  app.add_option("--k8s-token-file", raw.kubernetes_token_file,
                 "File with a bearer token for it, read again as it changes. Default: the service account's.")
      ->group(kGroup);
  app.add_option("--k8s-ca-file", o.kubernetes_ca_file,
                 "PEM file with who signs its certificate. Default: the service account's.")
      ->group(kGroup);
  app.add_option("--k8s-watcher-timeout-seconds", raw.kubernetes.watch_timeout,
                 "How long one watch goes on before the next.")
      ->type_name("SECONDS")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 86400.0))
      ->group(kGroup);
}

void add_dns_flags(CLI::App& app, SourceOptions& o, RawSources& raw) {
  constexpr const char* kGroup = "Replicas from DNS";
  app.add_option("--replica-dns", raw.dns_names,
                 "A replica as --replica takes it, whose HOST stands for many: each of its addresses is one. "
                 "A HOST of the form _SERVICE._tcp.NAME is asked for SRV records. Repeat it for each.")
      ->group(kGroup);
  app.add_option("--dns-server", o.dns.server,
                 "Who is asked, as IPV4[:PORT]. Default: as in /etc/resolv.conf.")
      ->group(kGroup);
  add_seconds(app, "--dns-keep-empty", o.dns.keep_empty,
              "How long replicas stay while the DNS says that there is none.", kGroup);
  add_seconds(app, "--dns-keep-failed", o.dns.keep_failed, "How long they stay while it gives no answer.",
              kGroup);
}

void add_trust_flags(CLI::App& app, SourceOptions& o, RawSources& raw) {
  constexpr const char* kGroup = "TLS to replicas";
  TlsTrustOptions& trust = o.trust;
  trust.authorities.flag = "--ca-cert-path";
  trust.certificate.flag = "--client-cert-path";
  trust.key.flag = "--client-key-path";
  app.add_option(trust.authorities.flag, trust.authorities.path,
                 "PEM file with who signs the certificates of https:// replicas. Default: the system's.")
      ->group(kGroup);
  app.add_option(trust.certificate.flag, trust.certificate.path,
                 "PEM file with the router's own certificate, for replicas that ask for one.")
      ->group(kGroup);
  app.add_option(trust.key.flag, trust.key.path, "PEM file with its key.")->group(kGroup);
  app.add_option(
         "--replica-server-name", raw.server_name,
         "The name that replicas' certificates are for. Default: the URL's host, or the Service's name.")
      ->group(kGroup);
  app.add_flag("--replica-insecure", raw.insecure,
               "Believe whoever answers at a replica's https:// address. For trials only.")
      ->group(kGroup);
}

bool is_file(const std::string& path) {
  return std::ifstream(path).good();
}

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Where the API server is, and who we are there. An empty string when all is well.
std::string find_kubernetes_api(SourceOptions& o, const RawSources& raw,
                                const SourceEnvironment& environment) {
  const std::string own = environment.service_account + "/";
  KubernetesApiOptions found{.token_file = raw.kubernetes_token_file};
  std::string api = raw.kubernetes_api;
  if (api.empty()) {
    if (environment.kubernetes_host.empty()) {
      return "--k8s-api-server is needed outside of a cluster, as in https://10.0.0.1:6443, or "
             "http://localhost:8001 of kubectl proxy.";
    }
    const bool is_ipv6 = environment.kubernetes_host.find(':') != std::string::npos;
    api =
        fmt::format("https://{}{}{}:{}", is_ipv6 ? "[" : "", environment.kubernetes_host, is_ipv6 ? "]" : "",
                    environment.kubernetes_port.empty() ? "443" : environment.kubernetes_port);
    if (found.token_file.empty()) found.token_file = own + "token";
    if (o.kubernetes_ca_file.empty() && is_file(own + "ca.crt")) o.kubernetes_ca_file = own + "ca.crt";
  }
  auto url = parse_url(api);
  if (!url.ok()) return "--k8s-api-server: " + url.error().message;
  found.url = std::move(url).value();
  o.kubernetes_space = raw.kubernetes_space.empty() ? first_line(own + "namespace") : raw.kubernetes_space;
  if (o.kubernetes_space.empty()) o.kubernetes_space = "default";
  o.kubernetes_api = std::move(found);
  return {};
}

// What is not said comes from where a pod finds it. An empty string when all is well.
std::string finish_kubernetes(SourceOptions& o, const RawSources& raw, const SourceEnvironment& environment) {
  KubernetesOptions kubernetes = raw.kubernetes;
  const bool has_replicas = !kubernetes.service.empty() || !kubernetes.label_selector.empty();
  if (!has_replicas && !raw.wants_kubernetes) {
    const bool given = !raw.kubernetes_space.empty() || !kubernetes.port.empty() ||
                       !raw.kubernetes_api.empty() || !raw.kubernetes_token_file.empty() ||
                       !o.kubernetes_ca_file.empty();
    return given ? "--k8s-service says which Service's endpoints are the replicas; or --k8s-label-selector."
                 : "";
  }
  if (!kubernetes.service.empty() && !kubernetes.label_selector.empty()) {
    return "--k8s-service and --k8s-label-selector exclude each other; a selector of one Service is "
           "kubernetes.io/service-name=NAME.";
  }
  if (std::string fault = find_kubernetes_api(o, raw, environment); !fault.empty()) return fault;
  if (!has_replicas) return {};
  kubernetes.space = o.kubernetes_space;
  o.kubernetes = std::move(kubernetes);
  return {};
}

}  // namespace

void add_source_flags(CLI::App& app, SourceOptions& o, RawSources& raw) {
  add_written_flags(app, o, raw);
  add_dns_flags(app, o, raw);
  add_kubernetes_flags(app, o, raw);
  add_trust_flags(app, o, raw);
}

std::string finish(SourceOptions& o, const RawSources& raw, const SourceEnvironment& environment) {
  for (const std::string& text : raw.replicas) {
    auto replica = parse_replica(text);
    if (!replica.ok()) return "--replica " + replica.error().message;
    for (const FoundReplica& other : o.replicas) {
      if (other.name == replica->name) return "--replica " + other.name + " is given twice.";
    }
    o.replicas.push_back(std::move(replica).value());
  }
  for (const std::string& text : raw.dns_names) {
    auto pattern = parse_replica(text);
    if (!pattern.ok()) return "--replica-dns " + pattern.error().message;
    if (pattern->name != pattern->url) {
      return "--replica-dns " + text + ": a name for many is none; leave name= out.";
    }
    const std::string host = parse_url(pattern->url)->host;
    if (host.find(':') != std::string::npos || host.find_first_not_of("0123456789.") == std::string::npos) {
      return "--replica-dns " + text + ": " + host + " is an address; use --replica.";
    }
    o.dns_patterns.push_back(std::move(pattern).value());
  }
  if (const auto lookup = DnsLookup::open(o.dns.server); !lookup.ok()) return lookup.error().message;
  if (std::string fault = finish_kubernetes(o, raw, environment); !fault.empty()) return fault;
  if (o.replicas.empty() && o.replicas_file.empty() && o.dns_patterns.empty() && !o.kubernetes) {
    return "No replica is given: --replica http://HOST:PORT, --replicas-file FILE, --replica-dns "
           "http://NAME:PORT or --k8s-service NAME.";
  }
  o.trust.checks_server = !raw.insecure;
  return {};
}

std::string describe(const SourceOptions& o) {
  std::string found = fmt::format("replicas {}", o.replicas.size());
  if (!o.replicas_file.empty()) found += " and of " + o.replicas_file;
  for (const FoundReplica& each : o.dns_patterns) found += " and behind " + each.url;
  if (const auto& k = o.kubernetes) {
    found += fmt::format(" and of Kubernetes, {} in namespace {}",
                         k->service.empty() ? k->label_selector : "Service " + k->service, k->space);
  }
  return found;
}

}  // namespace sluice::router
