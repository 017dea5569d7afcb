// Every endpoint of the server and the rules at its door. The objects of ApiFloor outlive the listener that
// uses the routes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/api/active_requests.h"
#include "server/api/background_runs.h"
#include "server/api/event_switch.h"
#include "server/api/model_service.h"
#include "server/api/work_pool.h"
#include "server/metrics.h"
#include "server/net/key_ring.h"
#include "server/net/listener.h"

namespace sluice {

struct ApiOptions {
  std::string version;
  Keys keys;
  bool metrics_without_key = false;  // scrapers need no key
  std::chrono::milliseconds health_stall{
      30000};  // an engine with work and no finished step for this long is sick
  bool log_requests = false;
  WireLimits limits;                                // those with flags, for /openapi.json
  size_t responses_store_bytes = size_t{64} << 20;  // of finished responses that clients may ask for again
};

struct ApiFloor {
  explicit ApiFloor(ApiOptions asked)
      : options(std::move(asked)), keys(options.keys), responses(options.responses_store_bytes) {}
  ApiOptions options;
  KeyRing keys;
  ServiceSlot slot;
  ResponseStore responses;                             // before the pools, whose jobs look into it
  std::vector<std::unique_ptr<EventSwitch>> switches;  // one per I/O thread
  std::unique_ptr<WorkPool> pool;
  std::unique_ptr<WorkPool> grammar_pool;  // one thread: new grammars wait for each other
  Metrics metrics;
  ActiveRequests active;
  BackgroundRuns background;  // stopped before the I/O threads and the service go
};

std::unique_ptr<ApiFloor> make_api_floor(ApiOptions options, IoThreads& threads, int worker_threads);
Routes make_api_routes(ApiFloor& floor);
// What /health and /ready say. Any thread, at once.
HttpResponse health(const ApiFloor& floor);
HttpResponse ready(const ApiFloor& floor);
// Sets the three functions of ListenOptions.
void guard_door(ListenOptions& options, ApiFloor& floor);

}  // namespace sluice
