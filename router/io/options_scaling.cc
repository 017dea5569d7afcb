#include "router/io/options_scaling.h"

#include <algorithm>

#include "router/io/options_flags.h"

namespace sluice::router {

void add_scaling_flags(CLI::App& app, DemandBoardOptions& demand, ScalingOptions& scaling, RawScaling& raw) {
  constexpr const char* kGroup = "Autoscaling";
  MetricsApiOptions& api = scaling.metrics_api;
  const std::map<std::string, double> units{{"s", 1}, {"m", 60}, {"h", 3600}};
  const auto seconds = [&](const std::string& flag, double& value, const std::string& about) {
    app.add_option(flag, value, about)
        ->type_name("SECONDS")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 86400.0))
        ->group(kGroup);
  };
  app.add_option(
         "--model", demand.models,
         "A model whose demand is told from the start, when no replica of it was ever there. Repeat it "
         "for each.")
      ->group(kGroup);
  seconds("--ttft-target", demand.demand.ttft_target,
          "Within which the prompts that wait should be computed: more replicas are asked for when they are "
          "not.");
  seconds("--slo-ttft", demand.demand.slo_ttft,
          "Ask for more replicas when one stream in ten waits longer for its first token; 0: do not.");
  seconds("--slo-itl", demand.demand.slo_itl,
          "The same for the time between two tokens of a stream; 0: do not.");
  app.add_option(
         "--predict-traffic", raw.predict_seconds,
         "Look so far ahead and ask for replicas before they are needed, once the forecast has proved "
         "itself: 5m.")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_OPTIONAL))
      ->check(CLI::Range(0.0, 7200.0))
      ->type_name("TIME")
      ->group(kGroup);

  app.add_option(
         "--metrics-api-port", api.port,
         "Port of the Kubernetes metrics APIs (custom.metrics.k8s.io, external.metrics.k8s.io); 0: none.")
      ->check(CLI::Range(0, 65535))
      ->group(kGroup);
  app.add_option("--metrics-api-host", api.host, "Address to listen on for it.")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--metrics-api-certfile", api.certfile,
                 "PEM file with its certificate: SERVICE.NAMESPACE.svc. Default: one that it signs itself.")
      ->group(kGroup);
  app.add_option("--metrics-api-keyfile", api.keyfile, "PEM file with its key.")->group(kGroup);
  app.add_option("--requestheader-client-ca-file", api.requestheader_client_ca_file,
                 "PEM file with who signs the certificate of the API server's front proxy. Default: as the "
                 "cluster says, with the names that are allowed.")
      ->group(kGroup);
  app.add_option("--requestheader-allowed-names", api.requestheader_allowed_names,
                 "Common names that certificate may have; none given: any. Repeat it for each.")
      ->group(kGroup);
  app.add_option("--metrics-api-namespace", api.space,
                 "The one namespace that is answered for. Default: any.")
      ->group(kGroup);
  app.add_option("--keda-port", scaling.keda.port,
                 "Port of KEDA's external-push scaler (gRPC, without TLS); 0: none.")
      ->check(CLI::Range(0, 65535))
      ->group(kGroup);
  app.add_option("--keda-host", scaling.keda.host, "Address to listen on for it.")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option(
         "--scale-target", raw.targets,
         "[MODEL=]deployments/NAME: the workload that is given one replica when somebody waits and it "
         "has none. Repeat it for each.")
      ->group(kGroup);
  app.add_option("--scale-to-zero-after", raw.sleep_after,
                 "So long without a request, and it is put to 0 replicas, as in 10m; 0: never.")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_OPTIONAL))
      ->check(CLI::Range(0.0, 864000.0))
      ->type_name("TIME")
      ->group(kGroup);
  app.add_option(
         "--peer", raw.peers,
         "http[s]://HOST:PORT of another router before the same replicas: each tells the demand of all. "
         "Repeat it for each.")
      ->group(kGroup);
  app.add_option("--k8s-peer-service", scaling.peer_service,
                 "Or the name of the Service of all routers, this one among them.")
      ->group(kGroup);
  app.add_flag("--pod-deletion-cost", scaling.pod_deletion_cost,
               "Annotate replicas' pods, so that Kubernetes takes away the least busy one first.")
      ->group(kGroup);
}

std::string finish(DemandBoardOptions& demand, ScalingOptions& scaling, const RawScaling& raw) {
  if (demand.demand.ttft_target <= 0) return "--ttft-target must be above 0.";
  if (raw.predict_seconds > 0) {
    demand.forecast.emplace();
    demand.forecast->horizon = std::max(raw.predict_seconds, demand.forecast->bucket);
  }
  for (const std::string& text : raw.targets) {
    auto target = parse_scale_target(text);
    if (!target.ok()) return target.error().param + ": " + target.error().message + ".";
    target->sleep_after = raw.sleep_after;
    const std::string& model = target->model;
    if (!model.empty() && std::ranges::find(demand.models, model) == demand.models.end())
      demand.models.push_back(model);
    scaling.targets.push_back(std::move(target).value());
  }
  for (const std::string& text : raw.peers) {
    auto peer = parse_replica(text);
    if (!peer.ok()) return "--peer " + peer.error().message;
    scaling.peers.push_back(std::move(peer).value());
  }
  if (raw.sleep_after > 0 && scaling.targets.empty()) {
    return "--scale-to-zero-after needs --scale-target, which says what is put to 0 replicas.";
  }
  const MetricsApiOptions& api = scaling.metrics_api;
  if (api.port == 0) return {};
  if (api.certfile.empty() && !api.keyfile.empty()) {
    return "--metrics-api-keyfile is given without --metrics-api-certfile.";
  }
  if (api.requestheader_client_ca_file.empty() && !api.requestheader_allowed_names.empty()) {
    return "--requestheader-allowed-names is given without --requestheader-client-ca-file; without both the "
           "cluster is asked.";
  }
  return {};
}

}  // namespace sluice::router
