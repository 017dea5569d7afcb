// What `sluice serve --simulate` serves in place of a model: how long a step of the simulated device takes,
// how much KV cache it has, how long its answers are. A built-in name, or a JSON file with the fields of
// docs/simulation.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/simulated_runner.h"

namespace sluice {

struct CostModel {
  std::string name;  // the built-in's, or the file's without its folder and ".json"
  StepCost cost;
  // What the flags of these names say when they are given.
  int max_num_seqs = 256, max_num_batched_tokens = 2048, block_size = 16, max_model_len = 32768;
  int64_t kv_tokens = 524288;
  int answer_tokens = 0;  // the longest answer where a request names no bound; 0: the rest of the context
  int mean_answer_tokens = 0;  // > 0: answers end by themselves, after about so many tokens
  double load_seconds = 0;     // from the start until ready
};

std::span<const std::string_view> built_in_cost_models();

// The error names the field and what it may be.
Result<CostModel> read_cost_model(const std::string& name_or_path);

}  // namespace sluice
