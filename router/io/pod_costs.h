// Tells Kubernetes which pods are missed least, before it takes any away: the annotation
// controller.kubernetes.io/pod-deletion-cost of each replica's pod
// (https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost). Writes only
// while more replicas are ready than the load asks for, what has changed, and few a second. One I/O thread.
#pragma once

#include <memory>

#include "router/io/errand.h"
#include "router/io/kubernetes_api.h"

namespace sluice::router {

class Dispatcher;
struct Replica;

// Requests that would have to be waited for weigh most; of equals the one that is here longer, whose cache is
// warmer, is worth more.
int deletion_cost(const Replica& replica, Seconds now);

// `api` and `dispatcher` outlive it.
std::unique_ptr<Errand> make_pod_costs(KubernetesApi& api, const Dispatcher& dispatcher);

}  // namespace sluice::router
