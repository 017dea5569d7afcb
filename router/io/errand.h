// Something the router does for its surroundings beside routing, a little at a time and without ever
// blocking: asks the cluster who may come in, wakes a workload, tells which pod is missed least. One I/O
// thread.
#pragma once

#include "router/core/units.h"

namespace sluice::router {

class Errand {
 public:
  virtual ~Errand() = default;
  // Some four times a second: whatever is due is begun.
  virtual void tick(Seconds now) = 0;
};

}  // namespace sluice::router
