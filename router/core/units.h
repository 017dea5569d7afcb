// The few words that every file of the router's core uses: time as an argument, and who is meant.
#pragma once

#include <cstdint>

namespace sluice::router {

// Seconds since some moment of the caller's choice that never goes back. The core reads no clock.
using Seconds = double;
inline constexpr Seconds kNever = 1e300;

// Given by the caller, never used twice.
using RequestId = uint64_t;
// Given by the fleet, never used twice: what is late for a replica that left meets nobody.
using ReplicaId = uint32_t;
inline constexpr ReplicaId kNoReplica = 0;

}  // namespace sluice::router
