// The door at which kube-apiserver's aggregation layer asks for the Kubernetes metrics APIs: TLS both ways.
// Who shows no certificate of the front proxy's authority does not get in; whose name is not allowed gets
// 403. Identity headers are not read: the API server has judged its caller before it asks.
#pragma once

#include <memory>

#include "router/io/dispatcher.h"
#include "router/io/options_scaling.h"
#include "server/net/listener.h"

namespace sluice::router {

// On the thread of `io`, which the dispatcher lives on; both outlive it.
Result<std::unique_ptr<Listener>> open_metrics_api(const MetricsApiOptions& options, Dispatcher& dispatcher,
                                                   IoThreads& threads);

}  // namespace sluice::router
