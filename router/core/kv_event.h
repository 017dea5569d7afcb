// What a replica of ours tells about itself, as values: its KV blocks, the way of its requests, its load. The
// wire (the JSON lines of docs/kv_events.md) is router/io's.
//
// Numbered events have sequence numbers that grow by one. A stream begins with kSnapshotBegin (`hello` that
// did not resume; sequence: the number before the first event that follows) or kResumed. Snapshot lines and
// numbered events come mixed; kSnapshotEnd says from which number on (sequence: `settled`) all is exact.
#pragma once

#include <cstdint>

#include "router/core/units.h"

namespace sluice::router {

struct KvEvent {
  enum class Kind : uint8_t {
    kSnapshotBegin,
    kHeld,         // hash, parent: a block of the snapshot; no number
    kSnapshotEnd,  // sequence: exact once all events before this number are applied
    kResumed,      // nothing is missing; sequence: the number of the next event
    kStored,       // hash, parent: a full block is in the cache
    kEvicted,      // hash
    kAdmitted,     // request, prompt_tokens, cached_tokens; hash of the prompt's last full block
    kPrefilled,    // request: its prompt is computed, and its blocks are told
    kFinished,     // request
    kLoad,         // running, waiting, prefill_tokens, kv_usage
  };
  Kind kind = Kind::kLoad;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  uint64_t hash = 0;
  uint64_t parent = 0;
  RequestId request = 0;  // 0: not one of ours
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint64_t prefill_tokens = 0;
  double kv_usage = 0;
};

}  // namespace sluice::router
