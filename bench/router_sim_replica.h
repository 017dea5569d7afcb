// A replica in virtual time: continuous batching with chunked prefill, an LRU prefix cache of whole blocks
// and the events that a real one tells. No thread, no clock: the simulation asks when the next step ends and
// calls step_end() then. The model and its constants: SMG's mock worker (research of 2026: prefill 8000
// tokens/s in chunks of 2048, step 6.0 ms + 0.35 ms for each running request, 256 running, 524,288 tokens of
// KV).
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "router/core/action.h"
#include "router/core/kv_event.h"
#include "router/core/units.h"

namespace sluice::router_sim {

using router::Attempt;
using router::KvEvent;
using router::RequestId;
using router::Seconds;

struct ReplicaModel {
  double prefill_tokens_per_second = 8000;
  double attention_seconds = 0;  // for each pair of tokens, router::PrefillWork::attention
  uint32_t chunk_tokens = 2048;
  Seconds step_seconds = 0.006;
  Seconds step_per_running = 0.00035;
  uint32_t max_running = 256;
  uint64_t kv_tokens = 524'288;
  uint32_t block_tokens = 512;
};

// What a request asks of an engine.
struct SimPrompt {
  std::shared_ptr<const std::vector<uint64_t>> blocks;  // chained hashes of the full blocks
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 1;
};

struct StepOutcome {
  struct One {
    RequestId request;
    Attempt attempt;
    uint32_t output_tokens;
  };
  std::vector<One> first_tokens;
  std::vector<One> finished;
  std::vector<KvEvent> events;
};

class SimReplica {
 public:
  SimReplica(const ReplicaModel& model, uint64_t epoch) : model_(model), epoch_(epoch) {}

  void submit(RequestId request, Attempt attempt, const SimPrompt& prompt, Seconds now);
  void cancel(RequestId request, Attempt attempt, Seconds now);
  // When the step in progress ends; kNever when idle. Changes with submit and cancel.
  Seconds next_end() const { return end_; }
  // At next_end(): what came of the step; the next one begins.
  void step_end(StepOutcome& outcome);
  // Twice as slow, three times as slow; from the next step on.
  void set_slowdown(double factor) { slowdown_ = factor; }

  std::vector<KvEvent> snapshot() const;
  KvEvent load() const;

  // Counted over its life.
  uint64_t admitted_tokens() const { return admitted_tokens_; }
  uint64_t cached_tokens() const { return cached_tokens_; }
  Seconds busy_seconds() const { return busy_seconds_; }
  size_t size() const { return waiting_.size() + running_.size(); }
  std::vector<std::pair<RequestId, Attempt>> all() const;

 private:
  struct Running {
    RequestId request;
    Attempt attempt;
    SimPrompt prompt;
    uint32_t cached_blocks = 0;    // of prompt.blocks, pinned in the cache from the start
    uint32_t pinned_blocks = 0;    // pinned now, from the front
    uint32_t left_tokens = 0;      // of its prompt
    uint32_t computed_tokens = 0;  // with the cached ones
    uint64_t reserved_blocks = 0;  // beside the pinned: parts of blocks, the answer
    uint64_t finish_step = 0;
    bool decoding = false;
  };
  struct Block {
    uint64_t parent = 0;
    uint32_t pins = 0;
    std::list<uint64_t>::iterator idle;  // place in idle_ while unpinned
  };

  void begin_step(Seconds now);
  void admit(Seconds now);
  uint64_t free_blocks() const { return capacity() - reserved_ - cache_.size() + idle_.size(); }
  uint64_t capacity() const { return model_.kv_tokens / model_.block_tokens; }
  void make_room(uint64_t blocks);
  void pin_computed(Running& running);
  void release(Running& running);
  void tell(KvEvent event);

  const ReplicaModel model_;
  const uint64_t epoch_;
  uint64_t sequence_ = 0;
  double slowdown_ = 1;
  std::deque<Running> waiting_;
  std::list<Running> running_;  // in order of admission
  size_t decoding_ = 0;
  uint64_t step_ = 0;  // steps that have ended
  std::unordered_map<uint64_t, Block> cache_;
  std::list<uint64_t> idle_;  // unpinned blocks, least lately used first
  uint64_t reserved_ = 0;
  std::vector<KvEvent> events_;

  // The step in progress: `steps_` equal ones when all decode and nobody waits.
  Seconds start_ = 0;
  Seconds end_ = router::kNever;
  Seconds length_ = 0;
  uint64_t steps_ = 0;
  std::vector<std::pair<Running*, uint32_t>> chunks_;

  uint64_t admitted_tokens_ = 0;
  uint64_t cached_tokens_ = 0;
  Seconds busy_seconds_ = 0;
};

}  // namespace sluice::router_sim
