#include "bench/router_sim_workload.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <unordered_set>

#include "base/hash.h"

namespace sluice::router_sim {
namespace {

using Random = std::mt19937_64;

double unit(Random& random) {
  return static_cast<double>(random() >> 11) / 9007199254740992.0;
}
double exponential(Random& random, double mean) {
  return -std::log(1 - unit(random)) * mean;
}

// A prompt out of pieces of text: block hashes chain over (piece, position).
struct Piece {
  uint64_t id;
  uint32_t tokens;
};
SimPrompt make_prompt(std::initializer_list<Piece> pieces, uint32_t output_tokens, uint32_t block_tokens) {
  SimPrompt prompt{.output_tokens = output_tokens};
  auto blocks = std::make_shared<std::vector<uint64_t>>();
  uint64_t hash = 1;
  uint32_t left = block_tokens;
  for (const Piece& piece : pieces) {
    prompt.prompt_tokens += piece.tokens;
    for (uint32_t at = 0; at < piece.tokens;) {
      const uint32_t taken = std::min(left, piece.tokens - at);
      hash = hash_combine(hash_combine(hash, piece.id), at + (uint64_t{taken} << 32));
      at += taken;
      left -= taken;
      if (left > 0) continue;
      blocks->push_back(hash);
      left = block_tokens;
    }
  }
  prompt.blocks = std::move(blocks);
  return prompt;
}

void sort_by_time(Workload& workload) {
  std::ranges::stable_sort(workload.requests, {}, &SimRequest::at);
}

}  // namespace

double Workload::infinite_hit_rate() const {
  std::unordered_set<uint64_t> seen;
  double hit = 0, all = 0;
  for (const SimRequest& request : requests) {
    all += request.prompt.prompt_tokens;
    bool held = true;
    for (const uint64_t block : *request.prompt.blocks) {
      held = held && seen.contains(block);
      if (held) hit += block_tokens;
      seen.insert(block);
    }
  }
  return all > 0 ? hit / all : 0;
}

Result<Workload> read_trace(const std::string& path, double speed, size_t limit, uint64_t seed) {
  std::ifstream file(path);
  if (!file) return Error{ErrorCode::kIo, "Cannot read the trace " + path + "."};
  Random random(seed);
  Workload workload{.name = "trace x" + std::to_string(speed).substr(0, 3), .block_tokens = 512};
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    if (line.empty()) continue;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    const bool fits = json.is_object() && json.contains("timestamp") && json["timestamp"].is_number() &&
                      json.contains("input_length") && json["input_length"].is_number_unsigned() &&
                      json.contains("output_length") && json["output_length"].is_number_unsigned() &&
                      json.contains("hash_ids") && json["hash_ids"].is_array();
    if (!fits) {
      return invalid_argument(path,
                              "Line " + std::to_string(number) + " of " + path +
                                  " is not a Mooncake request: timestamp, input_length, output_length and "
                                  "hash_ids are needed.");
    }
    SimRequest request;
    request.at = (json["timestamp"].get<double>() / 1000 + 3 * unit(random)) / speed;
    request.prompt.prompt_tokens = std::clamp<uint32_t>(json["input_length"].get<uint32_t>(), 1, 10'000'000);
    request.prompt.output_tokens = std::clamp<uint32_t>(json["output_length"].get<uint32_t>(), 1, 1'000'000);
    auto blocks = std::make_shared<std::vector<uint64_t>>();
    uint64_t hash = 1;
    for (const auto& id : json["hash_ids"]) {
      // The last id names a block that is not full: no engine has it in its cache.
      if ((blocks->size() + 1) * 512 > request.prompt.prompt_tokens) break;
      if (!id.is_number_integer()) break;
      hash = hash_combine(hash, id.get<uint64_t>());
      blocks->push_back(hash);
    }
    // All conversations share the first block; the second tells them apart.
    request.session_key = blocks->size() > 1 ? (*blocks)[1] : hash_combine(seed, number);
    request.prompt.blocks = std::move(blocks);
    workload.requests.push_back(std::move(request));
    if (limit > 0 && workload.requests.size() >= limit) break;
  }
  sort_by_time(workload);
  return workload;
}

Workload shared_prefix(const SharedPrefixShape& shape, uint64_t seed) {
  Random random(seed);
  Workload workload{.name = shape.bursts     ? "bursts"
                            : shape.zipf > 0 ? "zipf"
                                             : "shared-prefix",
                    .block_tokens = 64};
  std::vector<double> upto;
  double sum = 0;
  for (int group = 0; group < shape.groups; ++group) upto.push_back(sum += std::pow(group + 1, -shape.zipf));
  const int at_once = shape.bursts ? 28 : 1;
  for (Seconds at = 0; at < shape.duration;) {
    at += exponential(random, at_once / shape.requests_per_second);
    for (int i = 0; i < at_once; ++i) {
      const auto group =
          static_cast<uint64_t>(std::ranges::lower_bound(upto, unit(random) * sum) - upto.begin());
      const uint64_t question =
          hash_combine(group, random() % static_cast<uint64_t>(shape.prompts_per_group));
      const auto output = static_cast<uint32_t>(1 + exponential(random, shape.output_tokens));
      workload.requests.push_back(
          {.at = at,
           .prompt = make_prompt({{group, shape.system_tokens}, {question, shape.question_tokens}}, output,
                                 workload.block_tokens),
           .session_key = 1 + group});
    }
  }
  return workload;
}

Workload multi_turn(const MultiTurnShape& shape, uint64_t seed) {
  Random random(seed);
  Workload workload{.name = "multi-turn", .block_tokens = 64};
  for (int user = 0; user < shape.users; ++user) {
    Seconds at = unit(random) * shape.start_within;
    const auto id = static_cast<uint64_t>(user) + 1000;
    for (int turn = 0; turn < shape.turns; ++turn) {
      const auto said =
          static_cast<uint32_t>(turn) * (shape.turn_tokens + shape.output_tokens) + shape.turn_tokens;
      workload.requests.push_back(
          {.at = at,
           .prompt = make_prompt({{1, shape.system_tokens}, {id, shape.history_tokens + said}},
                                 shape.output_tokens, workload.block_tokens),
           .session_key = id,
           .tenant = std::to_string(user % shape.tenants)});
      at += 2 + exponential(random, shape.think_seconds);
    }
  }
  sort_by_time(workload);
  return workload;
}

}  // namespace sluice::router_sim
