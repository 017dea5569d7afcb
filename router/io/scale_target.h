// The workload of a model that the router itself may wake from 0 replicas and put to sleep again, by its
// scale subresource (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/). Acts only
// between 0 and 1; above that the HorizontalPodAutoscaler decides. One I/O thread.
#pragma once

#include <memory>
#include <string>

#include "router/io/errand.h"
#include "router/io/kubernetes_api.h"

namespace sluice::router {

class Dispatcher;

struct ScaleTargetOptions {
  std::string model;     // empty: whatever is asked for
  std::string resource;  // deployments, statefulsets or replicasets
  std::string name;
  std::string space;        // its namespace
  Seconds sleep_after = 0;  // without a request; 0: never
};

// "[MODEL=]deployments/NAME". kInvalidArgument with a sentence.
Result<ScaleTargetOptions> parse_scale_target(std::string_view text);

struct Scale {
  int replicas = 0;     // wanted
  std::string version;  // resourceVersion
};
// Of the scale subresource (autoscaling/v1).
Result<Scale> parse_scale(std::string_view text);

// `api` and `dispatcher` outlive it.
std::unique_ptr<Errand> make_scale_target(KubernetesApi& api, const Dispatcher& dispatcher,
                                          ScaleTargetOptions options);

}  // namespace sluice::router
