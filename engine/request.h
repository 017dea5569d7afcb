// What the outside asks of the engine and what it hears back: values both ways, no JSON, no text.
// A Request is made on an I/O thread, moved to the engine and never changes. Events come back by value, one
// post per step and sink.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/thinking.h"
#include "kernels/backend.h"

namespace sluice {

using Clock = std::chrono::steady_clock;
using RequestId = uint64_t;  // given by Engine::submit, unique in the process

struct SamplingParams {
  float temperature = 1.0F;  // < 1e-5: greedy
  int top_k = 0;             // <= 0: off
  float top_p = 1.0F;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  uint64_t seed = 0;                    // already chosen: the caller draws one when the client gave none
  int logprobs = -1;                    // -1 none; 0 the chosen token's; n and the n most likely
  int prompt_logprobs = -1;             // the same of each prompt token but the first
  int max_tokens = 0;                   // >= 1; the caller has filled in the default
  int min_tokens = 0;                   // stop ids are banned before this many
  bool ignore_eos = false;              // eos_ids do not end the answer; stop_token_ids still do
  std::vector<int32_t> stop_token_ids;  // the client's
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<int32_t> allowed_token_ids;        // nothing else may come; empty: all may
  std::vector<std::vector<int32_t>> bad_tokens;  // sequences of tokens that must not come
};

// What may come next in one answer. Made by the submitter; from then on the engine calls it, from threads of
// its own but never from two at once.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // Bit v of word v / 32: token v may come after what was accepted. EOS ids are among the bits where the
  // answer may end. False: it cannot go on (the answer ends with kError).
  virtual bool fill_mask(std::span<uint32_t> words) noexcept = 0;
  // The answer's next token. EOS ends it and is not told.
  virtual bool accept(int32_t token) noexcept = 0;
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kDeadline, kError };

// What a request wants: tokens, or its prompt's final hidden states made into one vector.
enum class Pooling : uint8_t {
  kNone,
  kLast,  // the last prompt token's
  kMean,  // the mean over all prompt tokens; reads no prefix from the cache
};

// Of one request's tokens in one step; the last one has finish_reason != kNone. `tokens` may be empty in the
// last.
struct TokenEvent {
  RequestId id = 0;
  uint64_t tag = 0;                  // the submitter's own mark
  std::vector<SampledToken> tokens;  // the one that ended the answer (EOS, stop id) is last; text drops it
  FinishReason finish_reason = FinishReason::kNone;
  int32_t stop_token = -1;  // the EOS or stop id that ended it, or -1
  Error error;              // with kError
  // With the last event; also set on the first (what is known then).
  int prompt_tokens = 0;
  int cached_tokens = 0;  // prompt tokens found in the prefix cache
  int completion_tokens = 0;
  std::vector<SampledToken> prompt_logprobs;  // in the first event, when asked for: of tokens 1, 2, …
  std::vector<float> embedding;               // [E], not normalised; in the last event of a pooled request
  Clock::time_point first_scheduled, first_token, finished;
};

// Takes the events of a step for one I/O thread. Called on the engine thread; must not block or throw.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void post(std::vector<TokenEvent>&& events) noexcept = 0;
};

struct Request {
  std::vector<int32_t> prompt;  // >= 1 token
  // > 0: the last so many tokens of `prompt` are the beginning of the answer, generated elsewhere under the
  // same parameters. The answer goes on as if it had been generated here: draws, penalties, bounds,
  // constraint and counts.
  int32_t generated_before = 0;
  SamplingParams sampling;  // not read when pooled
  ThinkingBudget thinking;
  Pooling pooling = Pooling::kNone;
  int priority = 0;                             // lower first, with --scheduling-policy priority
  std::shared_ptr<TokenConstraint> constraint;  // or null; its EOS ends the answer whatever ignore_eos says
  uint64_t cache_salt = 0;                      // prefixes are shared only between equal salts
  uint64_t tag = 0;
  std::string name;    // the x-request-id: what events (engine/kv_events) call it; at most 128 bytes of it
  int32_t choice = 0;  // which of that request's prompts and choices
  Clock::time_point arrival = Clock::now();
  Clock::time_point deadline = Clock::time_point::max();
  std::shared_ptr<EventSink> sink;
};

}  // namespace sluice
