#include "router/io/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "router/io/options_flags.h"

namespace sluice::router {
namespace {

using std::chrono::milliseconds;

struct RawOptions {
  std::vector<std::string> aliases, shadows;
  std::string policy = "cost", shadow_policy;
  RawSources sources;
  bool no_continuation = false;
  RawScaling scaling;
};

void add_flags(CLI::App& app, RouteOptions& o, RawOptions& raw) {
  app.add_option("--model-alias", raw.aliases,
                 "ALIAS=MODEL: requests for ALIAS go to MODEL; ALIAS=MODEL*9,NEW*1: by weight, and each "
                 "session stays with its own. Repeat it for each.")
      ->group("Replicas");
  app.add_option("--shadow-traffic", raw.shadows,
                 "MODEL=TARGET[*SHARE]: that share of the requests that MODEL answers is sent to TARGET as "
                 "well, and its answers are thrown away. Repeat it for each.")
      ->group("Replicas");
  app.add_option("--max-shadow-requests", o.dispatcher.max_shadow_requests,
                 "Such copies on their way at once; beyond it they are left out.")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000))
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
  app.add_option(
         "--probe-port", o.probe.port,
         "Port for /health and /ready on a thread of their own, which no load keeps waiting; 0: none.")
      ->check(CLI::Range(0, 65535))
      ->group("Server");
  app.add_option("--shutdown-delay", o.shutdown_delay_s,
                 "Seconds after SIGTERM in which /ready says 503 and requests are still taken: as long as "
                 "load balancers need to see it.")
      ->capture_default_str()
      ->check(CLI::Range(0, 3600))
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

// An empty string when all is well.
std::string finish(RouteOptions& o, RawOptions& raw, const RouteEnvironment& environment) {
  if (std::string fault = finish(o.dispatcher.demand, o.scaling, raw.scaling); !fault.empty()) return fault;
  raw.sources.wants_kubernetes = o.scaling.wants_kubernetes();
  if (std::string fault = finish(o.sources, raw.sources, environment.sources); !fault.empty()) return fault;
  for (ScaleTargetOptions& target : o.scaling.targets) target.space = o.sources.kubernetes_space;
  o.dispatcher.link.upstream.server_name = raw.sources.server_name;
  for (const std::string& text : raw.aliases) {
    auto alias = parse_model_alias(text);
    if (!alias.ok()) return "--model-alias " + alias.error().message;
    if (!o.dispatcher.sketch.aliases.insert(*alias).second) {
      return "--model-alias " + alias->first + " is given twice.";
    }
  }
  for (const std::string& text : raw.shadows) {
    auto shadow = parse_model_alias(text);
    if (!shadow.ok()) return "--shadow-traffic " + shadow.error().message;
    const auto& [model, targets] = *shadow;
    if (targets.size() != 1 || targets.front().weight > 1) {
      return "--shadow-traffic " + text + " is not of the form MODEL=TARGET or MODEL=TARGET*SHARE, 0 to 1.";
    }
    o.dispatcher.shadows[model] = {targets.front().model, targets.front().weight};
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
  add_source_flags(app, o.sources, raw.sources);
  add_scaling_flags(app, o.dispatcher.demand, o.scaling, raw.scaling);
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
  return fmt::format("{}, policy {}{}, index {} MiB, dictionary {} MiB", describe(o.sources),
                     name_of(core.policy.name),
                     core.shadow ? fmt::format(" (shadow {})", name_of(core.shadow->name)) : "",
                     core.index.budget_bytes >> 20, core.dictionary_bytes >> 20);
}

}  // namespace sluice::router
