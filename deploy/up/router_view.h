// What the router's /autoscale/v1/models and /router/replicas say, as far as the supervisor cares. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "deploy/up/supervisor.h"

namespace sluice::up {

// A replica, and where the router asks it: that of a process that is no more may still be told of.
struct SeenReplica {
  Sight sight;
  std::string url;
};

struct RouterView {
  // Sums over the models that are told of: one set of replicas serves them all.
  double demand = 0;
  double in_flight = 0;
  double queued = 0;
  std::string reason;  // of the model that asks for most
  std::vector<SeenReplica> replicas;
};

// kCorrupt when either is not what the router says.
Result<RouterView> read_router_view(std::string_view models, std::string_view replicas);

// How a replica is called in the log and in the router's list; 0 where a name is none of ours.
std::string name_of(int number);
int number_of(std::string_view name);

}  // namespace sluice::up
