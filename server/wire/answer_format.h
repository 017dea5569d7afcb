// The shape of an answer on the wire, streamed or whole, written as JSON text by hand: one implementation for
// chat completions, one for completions. One per request; its I/O thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice {

struct TokenText {
  std::string bytes;   // a token's own, maybe not valid UTF-8 alone
  double logprob = 0;  // NaN: it has none, being the prompt's first
};

struct TokenLogprobs {
  TokenText chosen;
  std::vector<TokenText> top;  // most likely first
};

// One of the candidates for a place in the prompt.
struct PromptCandidate {
  int32_t id = 0;
  int rank = 0;  // 1: the most likely one
  TokenText token;
};

// Why a choice ended, in the API's words.
struct ChoiceEnd {
  std::string_view finish_reason;          // "stop", "length", …
  std::optional<int32_t> stop_token;       // stop_reason: the id of stop_token_ids that was met
  std::optional<std::string> stop_string;  // or the string of `stop`
};

// A piece of a tool call. Its first piece carries id and name, the pieces after it more of the arguments.
struct ToolCallPiece {
  int index = 0;  // of the call within its choice
  std::string_view id, name;
  std::string_view arguments;  // JSON text; the pieces of a call joined are an object
};

struct ToolCall {
  std::string id, name, arguments;
};

// What is new in one choice, in the order reasoning, text, tool calls, and its end with the last of it.
struct ChoiceDelta {
  int index = 0;
  std::string_view text;
  std::span<const TokenLogprobs> logprobs;  // of the tokens behind all that is new
  const ChoiceEnd* end = nullptr;
  std::string_view reasoning;
  std::span<const ToolCallPiece> tool_calls;
  // With return_token_ids: the new tokens, and with a choice's first delta its prompt.
  std::span<const int32_t> token_ids, prompt_token_ids;
  // With prompt_logprobs and a choice's first delta: of prompt tokens 1, 2, …, each place's own token first.
  std::span<const std::vector<PromptCandidate>> prompt_logprobs;
};

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_tokens = 0;
  int reasoning_tokens = -1;  // of the completion; -1: the model does not reason
};

// An extension: where the time of the request went.
struct Timings {
  double queue_ms = 0;    // until first scheduled
  double prefill_ms = 0;  // until the first token
  double decode_ms = 0;   // until the last one
};

// A finished choice of an answer that is not streamed.
struct WholeChoice {
  std::string text;
  std::vector<TokenLogprobs> logprobs;
  ChoiceEnd end;
  std::string reasoning;
  std::vector<ToolCall> tool_calls;
  std::vector<int32_t> token_ids, prompt_token_ids;  // with return_token_ids
  std::vector<std::vector<PromptCandidate>> prompt_logprobs;
};

struct AnswerOptions {
  std::string request_id;
  std::string model;  // as the answer names it
  int64_t created_s = 0;
  std::string fingerprint;  // system_fingerprint
  bool logprobs = false;
  bool prompt_logprobs = false;
  bool token_ids = false;      // return_token_ids
  bool include_usage = false;  // stream_options: a last chunk with the usage, and "usage": null before it
};

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // Each appends whole SSE events. `usage` and `timings` may be null.
  // A choice's first event, or nothing. `usage`: what is known of the prompt.
  virtual void append_opening(std::string& out, int index, const Usage& usage) = 0;
  virtual void append_delta(std::string& out, const ChoiceDelta& delta, const Usage* usage,
                            const Timings* timings) = 0;
  // Behind the last delta of the last choice.
  virtual void append_ending(std::string& out, const Usage& usage, const Timings& timings) = 0;
  // Instead of the ending: the stream breaks off.
  virtual void append_error(std::string& out, const Error& error);
  // The body of an answer that is not streamed.
  virtual std::string whole(std::span<const WholeChoice> choices, const Usage& usage,
                            const Timings& timings) = 0;

  static std::unique_ptr<AnswerFormat> chat(const AnswerOptions& options);
  static std::unique_ptr<AnswerFormat> completion(const AnswerOptions& options);
  static std::unique_ptr<AnswerFormat> messages(const AnswerOptions& options);  // Anthropic's
};

}  // namespace sluice
