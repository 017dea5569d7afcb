// What the core wants done, as values. router/io does it, in order, and tells what came of it.
#pragma once

#include <cstdint>
#include <string>

#include "router/core/units.h"

namespace sluice::router {

// One try of a request on one replica; a retry, a hedge and a continuation are tries of their own. Numbered
// from 1 within the request.
using Attempt = uint32_t;

struct Action {
  enum class Kind : uint8_t {
    kDispatch,  // send the request to `replica` as `attempt`; with `resume`: go on behind what was relayed
    kRelay,     // `attempt` answers the client: its head and all that follows; told once per attempt
    kCancel,    // drop `attempt`: its connection to `replica` is of no more use
    kHold,      // it waits in the router: keep the client (SSE comments); told once
    kReject,    // answer the client with `status`, `message` and, if > 0, Retry-After; the request has ended
    kFail,      // the stream broke behind its first byte and cannot go on: end it with `message` as an error
                // event
    kSnapshot,  // its event stream has a gap: connect again, from kv_place() or with a snapshot
  };
  Kind kind = Kind::kHold;
  RequestId request = 0;
  Attempt attempt = 0;
  ReplicaId replica = kNoReplica;
  bool resume = false;
  int status = 0;
  Seconds retry_after = 0;
  std::string message;  // a whole sentence, for kReject and kFail
};

}  // namespace sluice::router
