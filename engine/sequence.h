// A request on its way through the engine: its tokens, how far they are computed, and the KV blocks it holds.
// Made by Engine::submit, then engine thread only. The scheduler changes `computed`, `blocks` and what stands
// below them; the engine's core appends tokens.
//
//   tokens   [0, prompt_length) the prompt   [prompt_length, length) generated
//   KV       [0, chain.depth * B) findable by others   [.., computed) in the cache or launched   [computed,
//   length) not yet
//
// Steps in flight have chosen `pending` further tokens that the host has not seen. The next step may compute
// with the first of them: `computed` may be length + pending - 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace sluice {

// The order of service and, backwards, of preemption. Never changes during a sequence's life.
struct Rank {
  int64_t level = 0;   // lower first; 0 for all with fcfs
  uint64_t order = 0;  // of submission
  auto operator<=>(const Rank&) const = default;
};

struct Sequence {
  RequestId id = 0;
  Request request;  // its prompt has moved to `tokens`
  std::vector<int32_t> tokens;
  int32_t prompt_length = 0;
  std::vector<int32_t> banned_until_min_tokens;  // EOS and stop ids, when min_tokens asks for it
  Rank rank;

  enum class State : uint8_t { kNew, kWaiting, kRunning, kEnded };
  State state = State::kNew;
  int32_t computed = 0;
  int32_t pending = 0;
  int32_t pending_row = 0;  // of the step sampled last, which yields the newest of them
  std::vector<int32_t> blocks;
  uint32_t blocks_version = 0;    // changes when a block id already in `blocks` does
  PrefixChain chain;              // behind the blocks made findable
  int64_t refused_headroom = -1;  // free blocks beyond the reserve when admission last failed; -1: it has not
  int bypassed = 0;               // smaller ones admitted while it stood at the head of the queue
  int preemptions = 0;
  int32_t scored = 0;     // with prompt_logprobs: so many prompt tokens' successors are scored or launched
  bool admitted = false;  // at least once
  int32_t cached_tokens = 0;      // found at the first admission
  int32_t uncached_estimate = 0;  // not found when it came; 0 where nobody asks

  std::vector<uint32_t> allowed_mask;    // of the next token; empty: all may come
  std::vector<uint32_t> allowed_always;  // with a constraint and allowed_token_ids: the latter's
  std::vector<int32_t> banned;           // for the next token, where bad_tokens or min_tokens ban some
  int32_t accepted = 0;                  // generated tokens the constraint was told
  bool constraint_failed = false;
  Thinking thinking;
  std::vector<SampledToken> prompt_logprobs;  // of prompt tokens 1, 2, … as far as they came
  std::vector<double> hidden_sum;             // with Pooling::kMean: of the prompt tokens computed so far

  Clock::time_point first_scheduled, first_token;

  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  int32_t generated() const { return length() - prompt_length; }
  int32_t uncomputed() const { return length() + pending - computed; }
  // What is pending is its last token, whatever it be.
  bool will_end() const { return generated() + pending >= request.sampling.max_tokens; }
  // Prompt tokens still to be scored: their logits are needed, so no cache can stand for them.
  int32_t unscored() const {
    return request.sampling.prompt_logprobs < 0 ? 0 : std::max(0, prompt_length - 1 - scored);
  }
  std::span<const int32_t> prompt() const {
    return std::span(tokens).first(static_cast<size_t>(prompt_length));
  }
  std::span<const int32_t> output() const {
    return std::span(tokens).subspan(static_cast<size_t>(prompt_length));
  }
};

}  // namespace sluice
