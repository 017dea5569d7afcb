// What a model's requests ask of its replicas at this moment, in the router's own numbers: counted, never
// clipped by how many replicas there are. A scaler's signal is made of it (server/scaling).
#pragma once

#include <array>

#include "router/core/replica.h"
#include "router/core/units.h"

namespace sluice::router {

struct ModelLoad {
  double requests = 0;        // queued and running
  double queued = 0;          // of these, with no replica
  double queued_tokens = 0;   // prompts of those
  double uncomputed = 0;      // requests whose prompt is not computed
  Seconds backlog = 0;        // of one replica at its learned rate, for their uncached prompts
  Seconds queue_backlog = 0;  // of this, what has no replica yet
  Seconds arrived_prefill =
      0;                      // the same for all prompts that ever came: only grows while the model is known
  double kv_in_use = 0;       // sum over ready replicas of the share of their KV cache
  double running_tokens = 0;  // prompts of what is at replicas
  double max_running = 0;     // requests that a ready replica takes at once, mean
  std::array<int, 5> replicas{};  // by ReplicaState
};

}  // namespace sluice::router
