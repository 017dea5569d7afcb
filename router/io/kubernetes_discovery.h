// Replicas that Kubernetes tells of: lists the EndpointSlices of a Service and then watches them, by the API
// server's own protocol (https://kubernetes.io/docs/reference/using-api/api-concepts/). An API server that is
// away, refuses or talks nonsense takes no replica away: it is named in the log once, and asked again with
// growing patience. Texts are read a bounded number of bytes at a time. One I/O thread.
#pragma once

#include <memory>
#include <string>

#include "router/core/units.h"
#include "router/io/discovery.h"
#include "router/io/kubernetes_api.h"

namespace sluice::router {

struct KubernetesOptions {
  std::string space = "default";  // the namespace
  std::string service;            // its name; or
  std::string label_selector;     // of the EndpointSlices
  std::string port;               // by name or number; empty: the only one, or the one named http or https
  Seconds watch_timeout = 300;    // after which the API server ends a watch, and another begins
  Seconds first_backoff = 0.5, longest_backoff = 30;
};

// `api` outlives it; all happens on its thread.
std::unique_ptr<Discovery> make_kubernetes_discovery(KubernetesApi& api, KubernetesOptions options);

}  // namespace sluice::router
