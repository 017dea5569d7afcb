// What a replica of ours tells about itself, as values: its KV blocks, the way of its requests, its load. The
// wire (JSON lines of GET /kv_events) is router/io's.
//
// Every event has the engine's epoch (new at each start) and a sequence number that grows by one. A snapshot
// comes in the stream itself: kSnapshotBegin(epoch, sequence S), kStored for each block (parents first; their
// sequence numbers do not count), kSnapshotEnd, and then what is live from S+1 on.
#pragma once

#include <cstdint>

#include "router/core/units.h"

namespace sluice::router {

struct KvEvent {
  enum class Kind : uint8_t {
    kSnapshotBegin,
    kSnapshotEnd,
    kStored,     // hash, parent: a full block is in the cache
    kEvicted,    // hash
    kCleared,    // all blocks
    kAdmitted,   // request, prompt_tokens, cached_tokens; hash of the prompt's last full block
    kPrefilled,  // request: its prompt is computed, and its blocks are told
    kFinished,   // request
    kLoad,       // running, waiting, prefill_tokens, kv_usage
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
