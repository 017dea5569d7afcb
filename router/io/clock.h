// The router's clock: the seconds that its core is told. Any thread.
#pragma once

#include <chrono>

#include "router/core/units.h"

namespace sluice::router {

inline Seconds monotonic_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace sluice::router
