#include "router/io/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>

namespace sluice::router {
namespace {

using std::chrono::milliseconds;

void add_seconds(CLI::App& app, const std::string& flag, Seconds& time, const std::string& about,
                 const std::string& group) {
  app.add_option(flag, time, about)
      ->type_name("SECONDS")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86400.0))
      ->group(group);
}

template <class Bytes>
void add_bytes(CLI::App& app, const std::string& flag, Bytes& bytes, const std::string& about,
               const std::string& group) {
  app.add_option(flag, bytes, about)
      ->type_name("BYTES")
      ->default_str(fmt::format("{}MiB", bytes >> 20))
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(uint64_t{1} << 16, uint64_t{1} << 42))
      ->group(group);
}

struct RawOptions {
  std::vector<std::string> replicas, aliases, dns_names;
  std::string policy = "cost", shadow_policy;
  std::string kubernetes_api, kubernetes_space;
  KubernetesOptions kubernetes;
  bool replica_insecure = false;
  bool no_continuation = false;
};

void add_kubernetes_flags(CLI::App& app, RouteOptions& o, RawOptions& raw) {
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
  app.add_option("--k8s-token-file", raw.kubernetes.token_file,
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

void add_dns_flags(CLI::App& app, RouteOptions& o, RawOptions& raw) {
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

void add_trust_flags(CLI::App& app, RouteOptions& o, RawOptions& raw) {
  constexpr const char* kGroup = "TLS to replicas";
  TlsTrustOptions& trust = o.replica_trust;
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
         "--replica-server-name", o.dispatcher.link.upstream.server_name,
         "The name that replicas' certificates are for. Default: the URL's host, or the Service's name.")
      ->group(kGroup);
  app.add_flag("--replica-insecure", raw.replica_insecure,
               "Believe whoever answers at a replica's https:// address. For trials only.")
      ->group(kGroup);
}

void add_flags(CLI::App& app, RouteOptions& o, RawOptions& raw) {
  app.add_option(
         "--replica", raw.replicas,
         "A replica: http[s]://HOST:PORT[,weight=N][,max-running=N][,model=NAME][,name=NAME]. Repeat it "
         "for each.")
      ->group("Replicas");
  app.add_option("--replicas-file", o.replicas_file,
                 "File with one replica a line, as --replica takes them; read anew when it changes.")
      ->group("Replicas");
  app.add_option("--model-alias", raw.aliases,
                 "ALIAS=MODEL: requests for ALIAS go to MODEL. Repeat it for each.")
      ->group("Replicas");
  add_seconds(app, "--health-check-interval", o.dispatcher.link.health_interval,
              "Between two health checks of a replica.", "Replicas");
  add_seconds(app, "--health-check-timeout", o.dispatcher.link.health_timeout,
              "How long a health check may take.", "Replicas");
  app.add_option("--health-failure-threshold", o.dispatcher.core.fleet.health.fail_limit,
                 "Failed checks in a row after which a replica gets nothing.")
      ->capture_default_str()
      ->check(CLI::Range(1, 100))
      ->group("Replicas");
  app.add_option("--health-success-threshold", o.dispatcher.core.fleet.health.pass_limit,
                 "Good checks in a row after which it is asked again.")
      ->capture_default_str()
      ->check(CLI::Range(1, 100))
      ->group("Replicas");
  app.add_option("--max-replica-requests", o.dispatcher.link.max_running,
                 "Requests that one replica gets at once; the rest wait here. As its --max-num-seqs.")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000))
      ->group("Replicas");
  app.add_option("--max-replicas", o.dispatcher.core.fleet.max_replicas, "Most replicas at once.")
      ->capture_default_str()
      ->check(CLI::Range(1, 512))
      ->group("Replicas");

  std::string policies;
  for (int i = 0; i < kPolicyCount; ++i) {
    if (i > 0) policies += ", ";
    policies += name_of(static_cast<PolicyName>(i));
  }
  app.add_option("--policy", raw.policy, "Who gets a request: " + policies + ".")
      ->capture_default_str()
      ->group("Routing");
  app.add_option("--shadow-policy", raw.shadow_policy,
                 "A policy that decides as well and never acts; its regret is a metric.")
      ->group("Routing");
  app.add_option("--session-header", o.dispatcher.sketch.session_header,
                 "Names the session, for --policy session. Else the body's 'user' does.")
      ->capture_default_str()
      ->group("Routing");
  app.add_option("--tenant-header", o.dispatcher.sketch.tenant_header,
                 "Names the tenant whose turn it is in the queue. Else his API key does.")
      ->capture_default_str()
      ->group("Routing");
  add_bytes(app, "--index-bytes", o.dispatcher.core.index.budget_bytes,
            "Memory of the prefix index, taken at the start. Raise it for many large replicas.", "Routing");
  add_bytes(app, "--dictionary-bytes", o.dispatcher.core.dictionary_bytes,
            "Memory of what text means in blocks, taken at the start.", "Routing");
  add_seconds(app, "--slow-start", o.dispatcher.core.slow_start,
              "In which a new replica's share grows to the whole.", "Routing");

  app.add_option("--max-queue-requests", o.dispatcher.core.queue.max_requests,
                 "Requests that wait for a replica; beyond it 429.")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000'000))
      ->group("Queue");
  app.add_option("--max-queue-tokens", o.dispatcher.core.queue.max_tokens,
                 "Their prompt tokens; beyond it 429.")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->group("Queue");
  add_seconds(app, "--first-byte-timeout", o.dispatcher.sketch.first_byte_timeout,
              "Until the first byte of a stream, waiting included; then 503 or 504.", "Queue");
  add_seconds(app, "--request-timeout", o.dispatcher.sketch.request_timeout,
              "Until the answer in one piece, waiting included; then 503 or 504.", "Queue");
  add_seconds(app, "--hold-comment-interval", o.dispatcher.comment_interval,
              "Between two comments that keep the client of a waiting stream.", "Queue");

  app.add_option("--max-attempts", o.dispatcher.core.max_attempts,
                 "Replicas that may be asked for one answer, hedges and continuations included.")
      ->capture_default_str()
      ->check(CLI::Range(1, 20))
      ->group("Faults");
  app.add_option(
         "--hedge-factor", o.dispatcher.core.hedge_factor,
         "Ask a second replica when a stream's first byte takes so many times the estimate; 0: never.")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1000.0))
      ->group("Faults");
  app.add_flag("--no-continuation", raw.no_continuation,
               "Let broken streams end with an error event instead of going on at another replica.")
      ->group("Faults");
  add_seconds(app, "--stall-timeout", o.dispatcher.stall_timeout,
              "Without a byte of an answer that has begun; then it counts as broken.", "Faults");
  add_seconds(app, "--sick-stall-timeout", o.dispatcher.sick_stall_timeout,
              "The same where the replica's health checks fail as well.", "Faults");

  app.add_option("--host", o.listen.host, "Address to listen on.")->capture_default_str()->group("Server");
  app.add_option("--port", o.listen.port, "Port to listen on; 0: any free one.")
      ->capture_default_str()
      ->group("Server");
  app.add_option("--access-log", o.access_log, "File for one line of JSON per request; -: standard output.")
      ->group("Server");
  app.add_option("--log-level", o.log_level, "debug, info, warning or error.")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->group("Server");
  app.add_option("--shutdown-timeout", o.shutdown_timeout_s,
                 "Seconds that running requests have after SIGTERM.")
      ->capture_default_str()
      ->check(CLI::Range(0, 86400))
      ->group("Server");
  app.add_option("--max-connections", o.listen.max_connections, "Open connections of clients.")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000))
      ->group("Server");
  add_bytes(app, "--max-body-bytes", o.listen.limits.max_body_bytes, "Largest request body; beyond it 413.",
            "Server");
  add_bytes(app, "--max-buffered-body-bytes", o.listen.max_buffered_body_bytes,
            "All request bodies held at once; beyond it 503.", "Server");
  app.add_option(
         "--api-key", o.door.api_keys,
         "Key that clients send as 'Authorization: Bearer KEY'; several are allowed. Probes stay open; "
         "replicas get SLUICE_REPLICA_API_KEY in its place. Default: none, and clients' keys go on "
         "to replicas.")
      ->expected(1, 64)
      ->group("Server");
  app.add_option("--api-key-file", o.door.api_key_file,
                 "File with one such key a line; SIGHUP reads it again.")
      ->group("Server");
  app.add_option("--admin-api-key", o.door.admin_api_keys,
                 "Key that opens everything, and without which /metrics and /router are closed. Default: "
                 "clients' keys open them too.")
      ->expected(1, 64)
      ->group("Server");
  app.add_option("--ssl-certfile", o.door.tls.certfile, "PEM file with the certificate: serve https.")
      ->group("Server");
  app.add_option("--ssl-keyfile", o.door.tls.keyfile, "PEM file with its key.")->group("Server");
  app.add_option("--ssl-ca-certs", o.door.tls.ca_certs, "PEM file with who signs clients' certificates.")
      ->group("Server");
  app.add_option("--ssl-cert-reqs", o.door.tls.cert_reqs,
                 "Clients' certificates: 0 no, 1 checked, 2 required.")
      ->capture_default_str()
      ->check(CLI::Range(0, 2))
      ->group("Server");
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

// What is not said comes from where a pod finds it. An empty string when all is well.
std::string finish_kubernetes(RouteOptions& o, const RawOptions& raw, const RouteEnvironment& environment) {
  KubernetesOptions kubernetes = raw.kubernetes;
  if (kubernetes.service.empty() && kubernetes.label_selector.empty()) {
    const bool given = !raw.kubernetes_space.empty() || !kubernetes.port.empty() ||
                       !raw.kubernetes_api.empty() || !kubernetes.token_file.empty() ||
                       !o.kubernetes_ca_file.empty();
    return given ? "--k8s-service says which Service's endpoints are the replicas; or --k8s-label-selector."
                 : "";
  }
  if (!kubernetes.service.empty() && !kubernetes.label_selector.empty()) {
    return "--k8s-service and --k8s-label-selector exclude each other; a selector of one Service is "
           "kubernetes.io/service-name=NAME.";
  }
  const std::string own = environment.service_account + "/";
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
    if (kubernetes.token_file.empty()) kubernetes.token_file = own + "token";
    if (o.kubernetes_ca_file.empty() && is_file(own + "ca.crt")) o.kubernetes_ca_file = own + "ca.crt";
  }
  auto url = parse_url(api);
  if (!url.ok()) return "--k8s-api-server: " + url.error().message;
  kubernetes.api = std::move(url).value();
  kubernetes.space = raw.kubernetes_space.empty() ? first_line(own + "namespace") : raw.kubernetes_space;
  if (kubernetes.space.empty()) kubernetes.space = "default";
  o.kubernetes = std::move(kubernetes);
  return {};
}

// An empty string when all is well.
std::string finish(RouteOptions& o, const RawOptions& raw, const RouteEnvironment& environment) {
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
  for (const std::string& text : raw.aliases) {
    const size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
      return "--model-alias " + text + " is not of the form ALIAS=MODEL.";
    }
    o.dispatcher.sketch.aliases[text.substr(0, equals)] = text.substr(equals + 1);
  }
  const auto policy = parse_policy(raw.policy);
  if (!policy) return "--policy " + raw.policy + " is not known; --help lists them.";
  o.dispatcher.core.policy.name = *policy;
  if (!raw.shadow_policy.empty()) {
    const auto shadow = parse_policy(raw.shadow_policy);
    if (!shadow) return "--shadow-policy " + raw.shadow_policy + " is not known; --help lists them.";
    o.dispatcher.core.shadow = o.dispatcher.core.policy;
    o.dispatcher.core.shadow->name = *shadow;
  }
  if (std::string fault = finish_kubernetes(o, raw, environment); !fault.empty()) return fault;
  if (o.replicas.empty() && o.replicas_file.empty() && o.dns_patterns.empty() && !o.kubernetes) {
    return "No replica is given: --replica http://HOST:PORT, --replicas-file FILE, --replica-dns "
           "http://NAME:PORT or --k8s-service NAME.";
  }
  o.replica_trust.checks_server = !raw.replica_insecure;
  if (!environment.api_key.empty()) o.door.api_keys.push_back(environment.api_key);
  for (const auto* keys : {&o.door.api_keys, &o.door.admin_api_keys}) {
    if (std::ranges::find(*keys, "") != keys->end()) {
      return "An empty key was given; leave --api-key and --admin-api-key out to serve everybody.";
    }
  }
  o.dispatcher.link.replaces_keys = !o.door.api_keys.empty() || !o.door.api_key_file.empty();
  const auto lower = [](std::string& name) {
    std::ranges::transform(name, name.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  };
  lower(o.dispatcher.sketch.session_header);
  lower(o.dispatcher.sketch.tenant_header);
  o.dispatcher.continues = !raw.no_continuation;
  o.dispatcher.core.default_deadline =
      std::max(o.dispatcher.sketch.first_byte_timeout, o.dispatcher.sketch.request_timeout);
  o.listen.max_buffered_body_bytes =
      std::max(o.listen.max_buffered_body_bytes, o.listen.limits.max_body_bytes);
  return {};
}

}  // namespace

ParsedRouteOptions parse_route_options(int argc, const char* const* argv,
                                       const RouteEnvironment& environment) {
  RouteOptions o;
  RawOptions raw;
  o.listen.port = 8080;
  o.listen.max_connections = 16384;
  o.listen.max_buffered_body_bytes = size_t{1} << 30;
  o.dispatcher.core.index.budget_bytes = 256ULL << 20;
  // A replica that dies takes hundreds of answers with it, and each shall go on: a thousand at the start.
  // What keeps retries from storming is --max-attempts and the replicas' breakers.
  o.dispatcher.core.retry_budget = {.ratio = 0.2, .per_second = 10, .cap = 10'000};
  o.dispatcher.link.api_key = environment.replica_api_key;
  CLI::App app("Spreads requests over many servers, each where it finishes soonest (docs/router.md).",
               "sluice-route");
  app.footer(
      "From the environment: SLUICE_API_KEY (as --api-key); SLUICE_REPLICA_API_KEY, the key that the "
      "router itself shows to replicas.");
  add_flags(app, o, raw);
  add_dns_flags(app, o, raw);
  add_kubernetes_flags(app, o, raw);
  add_trust_flags(app, o, raw);
  ParsedRouteOptions parsed;
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    parsed.text = app.help();
    return parsed;
  } catch (const CLI::ParseError& error) {
    parsed.text = std::string("error: ") + error.what() + "\nsluice route --help lists the flags.\n";
    parsed.exit_code = 2;
    return parsed;
  }
  if (const std::string fault = finish(o, raw, environment); !fault.empty()) {
    parsed.text = "error: " + fault + "\n";
    parsed.exit_code = 2;
    return parsed;
  }
  parsed.options = std::move(o);
  return parsed;
}

std::string describe(const RouteOptions& o) {
  const RouterCoreOptions& core = o.dispatcher.core;
  std::string found;
  if (!o.replicas_file.empty()) found += " and of " + o.replicas_file;
  for (const FoundReplica& each : o.dns_patterns) found += " and behind " + each.url;
  if (const auto& k = o.kubernetes) {
    found += fmt::format(" and of Kubernetes, {} in namespace {}",
                         k->service.empty() ? k->label_selector : "Service " + k->service, k->space);
  }
  return fmt::format("replicas {}{}, policy {}{}, index {} MiB, dictionary {} MiB", o.replicas.size(), found,
                     name_of(core.policy.name),
                     core.shadow ? fmt::format(" (shadow {})", name_of(core.shadow->name)) : "",
                     core.index.budget_bytes >> 20, core.dictionary_bytes >> 20);
}

}  // namespace sluice::router
