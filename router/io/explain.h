// A decision of the core in words, for x-sluice-explain and POST /router/explain. Pure; one thread.
#pragma once

#include <string>

#include "router/core/router_core.h"

namespace sluice::router {

class Dispatcher;

// One line of JSON: who could have taken the request, what each would have cost and why, who was chosen.
std::string explain_json(const Decision& decision, const Dispatcher& dispatcher);

}  // namespace sluice::router
