// What /metrics of the router says, in Prometheus' text format 0.0.4 (docs/router.md has the table). A
// replica that left has no series any more. One I/O thread.
#pragma once

#include <string>

namespace sluice::router {

class Dispatcher;

std::string expose_metrics(const Dispatcher& dispatcher);

}  // namespace sluice::router
