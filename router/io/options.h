// The flags of `sluice route`, each once: parsed, checked, printed. Names are those of the field where there
// is one. The environment is handed in by main as values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "router/io/dispatcher.h"
#include "router/io/door.h"
#include "router/io/options_scaling.h"
#include "router/io/options_sources.h"
#include "server/net/probe_door.h"

namespace sluice::router {

struct RouteOptions {
  SourceOptions sources;
  std::string access_log;  // "-": standard output; empty: none
  std::string log_level = "info";
  ProbeOptions probe;  // on the router's own address
  int shutdown_delay_s = 0;
  int shutdown_timeout_s = 30;
  DispatcherOptions dispatcher;
  ListenOptions listen;
  DoorOptions door;
  ScalingOptions scaling;
};

struct RouteEnvironment {
  std::string replica_api_key, api_key;
  SourceEnvironment sources;
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
