// What the engine knows about itself, as a value taken at one moment. The metrics floor turns it into series.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/request.h"

namespace sluice {

struct EngineStats {
  // now
  int running = 0;
  int waiting = 0;
  int64_t waiting_prompt_tokens = 0;
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;    // held by running sequences
  int64_t kv_blocks_cached = 0;  // free but holding a prefix
  // since start
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;  // of admitted requests
  uint64_t prompt_tokens_cached = 0;
  uint64_t generation_tokens = 0;
  uint64_t preemptions = 0;
  uint64_t prefix_cache_queries = 0;   // tokens asked
  uint64_t prefix_cache_hits = 0;      // tokens found
  std::array<uint64_t, 6> finished{};  // by FinishReason
  uint64_t refused = 0;                // queue full
  Clock::time_point last_step;         // the loop's last sign of life
};

}  // namespace sluice
