// What the router answers at which path: the APIs it passes on, and its own few endpoints. The dispatcher and
// everything here live on one I/O thread.
#pragma once

#include <string>

#include "router/io/dispatcher.h"
#include "server/net/probe_door.h"
#include "server/net/routes.h"

namespace sluice::router {

Routes make_routes(Dispatcher& dispatcher);
// For a door of the probes' own. On any thread.
ProbeAnswers probe_answers(const Dispatcher& dispatcher);

// --- the answers, for tests and the routes ---
std::string model_list(const Dispatcher& dispatcher);
std::string replica_list(const Dispatcher& dispatcher);

}  // namespace sluice::router
