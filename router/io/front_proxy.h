// Who may ask the metrics APIs, as the cluster itself says: the API server writes by which authority and
// names its front proxy is known to ConfigMap extension-apiserver-authentication in kube-system
// (https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/). Asked for at the start,
// again each minute, and more often while there is no answer. One I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "router/io/errand.h"
#include "router/io/kubernetes_api.h"

namespace sluice::router {

struct FrontProxy {
  std::string authorities;         // PEM
  std::vector<std::string> names;  // common names that its certificate may have; none: any
  bool operator==(const FrontProxy&) const = default;
};

// Of the ConfigMap. An Error in words when it names no authority: without one nobody can be told apart.
Result<FrontProxy> parse_front_proxy(std::string_view config_map);

// `changed` is called with the first answer and with every other one. `api` outlives it.
std::unique_ptr<Errand> watch_front_proxy(KubernetesApi& api, std::function<void(const FrontProxy&)> changed);

}  // namespace sluice::router
