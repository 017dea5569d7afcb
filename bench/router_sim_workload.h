// What the simulated clients send: traces in Mooncake's format and generated workloads. Deterministic from a
// seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/router_sim_replica.h"

namespace sluice::router_sim {

struct SimRequest {
  Seconds at = 0;
  SimPrompt prompt;
  uint64_t session_key = 0;
  std::string tenant;
};

struct Workload {
  std::string name;
  std::vector<SimRequest> requests;  // by time
  uint32_t block_tokens = 512;
  // Share of all prompt tokens that a cache of endless size on one replica would hold.
  double infinite_hit_rate() const;
};

// Mooncake's JSON lines: timestamp (ms), input_length, output_length, hash_ids of 512-token blocks. Time
// stamps are quantised to 3 s: jittered within. Replayed `speed` times as fast; with `limit` > 0 only the
// first so many.
Result<Workload> read_trace(const std::string& path, double speed, size_t limit, uint64_t seed);

// Groups that share a system prompt; Poisson arrivals; the group by Zipf's law with exponent `zipf` (0:
// even).
struct SharedPrefixShape {
  int groups = 150;
  int prompts_per_group = 5;  // distinct questions in each
  uint32_t system_tokens = 6000;
  uint32_t question_tokens = 1200;
  uint32_t output_tokens = 200;
  double requests_per_second = 45;
  double zipf = 0;
  Seconds duration = 200;
  bool bursts = false;  // arrivals come 28 at an instant
};
Workload shared_prefix(const SharedPrefixShape& shape, uint64_t seed);

// Conversations: each turn sends all before and more; think time between.
struct MultiTurnShape {
  int users = 320;
  int turns = 10;
  uint32_t system_tokens = 1000;
  uint32_t history_tokens = 4000;  // of a user, before the first turn
  uint32_t turn_tokens = 400;
  uint32_t output_tokens = 100;
  Seconds think_seconds = 20;
  Seconds start_within = 120;
  int tenants = 1;
};
Workload multi_turn(const MultiTurnShape& shape, uint64_t seed);

}  // namespace sluice::router_sim
