// The command line of `sluice up`: its own flags, those that are the router's, and all the rest, which is the
// server's as it stands. Parsed, checked; nothing here reads the environment. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/scaling/hpa.h"

namespace sluice::up {

struct UpOptions {
  int min_replicas = 1;
  int max_replicas = 4;
  double scale_down_window = 60;  // seconds: so long nothing asked for a replica before it goes
  double startup_timeout = 900;   // seconds a replica may load
  int shutdown_timeout = 30;      // seconds that running requests have after Ctrl-C

  // The router's door.
  std::string host = "127.0.0.1";
  int port = 8000;
  bool has_tls = false;
  // One that opens /autoscale and /router. Empty: the first of key_file does, or none is needed.
  std::string key, key_file;

  std::vector<std::string> router_flags;  // without --host and --port
  std::vector<std::string> server_flags;  // MODEL among them
  // What of the server's flags says how a machine is used.
  bool names_threads = false;
  bool names_gpu_memory = false;
  bool names_device = false;  // --device, -tp: whoever says so divides the GPUs himself
  bool is_simulated = false;
};

struct ParsedUpOptions {
  std::optional<UpOptions> options;  // none: print `text` and exit with `exit_code`
  std::string text;
  int exit_code = 0;
};

ParsedUpOptions parse_up_options(const std::vector<std::string>& arguments);

// As the HPA of a cluster, but looked at each second and with the patience of one machine.
HpaSpec hpa_spec(const UpOptions& options);

}  // namespace sluice::up
