// What the router's core remembers of a live request and of a model. Included by the router_core*.cc files
// alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "router/core/router_core.h"

namespace sluice::router {

struct RouterCore::Try {
  Attempt number = 0;
  ReplicaId replica = kNoReplica;
  Charge charge;
  Seconds sent = 0;
  Seconds first_byte_at = kNever;
  Seconds estimate = 0;  // of seconds to the first token
  int status = 0;        // 0: not answered
  bool is_hedge = false;
  bool computed = false;  // its prompt is
  uint32_t predicted_cached = 0;
  // Told by the replica.
  bool admitted = false;
  uint32_t prompt_tokens = 0;
  uint64_t last_block = 0;
};

struct RouterCore::Request {
  RequestSketch sketch;
  uint32_t prompt_tokens = 0;
  Seconds deadline = kNever;
  Seconds hedge_at = kNever;
  Seconds timer = kNever;        // its entry in timers_, if any
  std::vector<Try> tries;        // those in flight: one, two with a hedge
  std::vector<ReplicaId> avoid;  // where it failed
  Attempt attempts = 0;          // so far
  Attempt relayed = 0;           // whose answer the client gets
  bool streaming = false;        // an answer began: what breaks can only be continued
  bool resume = false;           // what is sent next goes on behind what was relayed
  bool queued = false;
  bool told_hold = false;
  int last_status = 0;  // of an answer that was not passed on
  Seconds last_retry_after = 0;
  std::unique_ptr<Decision> decision;

  Try* find(Attempt number) {
    for (Try& attempt : tries) {
      if (attempt.number == number) return &attempt;
    }
    return nullptr;
  }
};

struct RouterCore::Group {
  explicit Group(const QueueOptions& options) : queue(options) {}
  uint64_t version = ~uint64_t{0};  // of the fleet that the members are from
  std::vector<Replica*> members;    // by id
  std::vector<uint64_t> name_hashes;
  HashRing ring;
  AdmissionQueue queue;
  size_t requests = 0;          // alive
  double missing = 1;           // share of prompts that was not cached, lately
  Seconds arrived_prefill = 0;  // of all prompts that ever came, at the rates and with the caches of then
  // Prompts not computed, mean over replicas and, with a fading memory, over time: what comes suddenly counts
  // at once and is forgotten slowly.
  double waiting_long = 0, waiting_short = 0;
  Seconds waiting_at = -kNever;
};

enum class RouterCore::Ending : uint8_t {
  kFinished,
  kFull,
  kDeadline,
  kUpstream,
  kMidstream,
  kClientLeft,
};

}  // namespace sluice::router
