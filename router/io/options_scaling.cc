#include "router/io/options_scaling.h"

#include "router/io/options_flags.h"

namespace sluice::router {

void add_scaling_flags(CLI::App& app, DemandBoardOptions& demand, MetricsApiOptions& api,
                       double& predict_seconds) {
  constexpr const char* kGroup = "Autoscaling";
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
         "--predict-traffic", predict_seconds,
         "Look so far ahead and ask for replicas before they are needed, once the forecast has proved "
         "itself: 5m.")
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"m", 60}, {"h", 3600}},
                                        CLI::AsNumberWithUnit::UNIT_OPTIONAL))
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
                 "PEM file with its certificate: SERVICE.NAMESPACE.svc.")
      ->group(kGroup);
  app.add_option("--metrics-api-keyfile", api.keyfile, "PEM file with its key.")->group(kGroup);
  app.add_option("--requestheader-client-ca-file", api.requestheader_client_ca_file,
                 "PEM file with who signs the certificate of the API server's front proxy.")
      ->group(kGroup);
  app.add_option("--requestheader-allowed-names", api.requestheader_allowed_names,
                 "Common names that certificate may have; none given: any. Repeat it for each.")
      ->group(kGroup);
  app.add_option("--metrics-api-namespace", api.space,
                 "The one namespace that is answered for. Default: any.")
      ->group(kGroup);
}

std::string finish(DemandBoardOptions& demand, const MetricsApiOptions& api, double predict_seconds) {
  if (demand.demand.ttft_target <= 0) return "--ttft-target must be above 0.";
  if (predict_seconds > 0) {
    demand.forecast.emplace();
    demand.forecast->horizon = std::max(predict_seconds, demand.forecast->bucket);
  }
  if (api.port == 0) return {};
  if (api.certfile.empty() || api.requestheader_client_ca_file.empty()) {
    return "--metrics-api-port needs --metrics-api-certfile, and --requestheader-client-ca-file to know the "
           "API server by.";
  }
  return {};
}

}  // namespace sluice::router
