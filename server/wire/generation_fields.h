// The fields that chat completions and completions share, read from JSON into values with their bounds
// checked. API reference: https://platform.openai.com/docs/api-reference; the fields beyond it are vLLM's,
// with vLLM's meaning.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "server/wire/request_fields.h"

namespace sluice {

// Bounds on what one request may ask for. Everything that could cost memory or time has one. Those with a
// flag are the owner's to move (server/options_door).
struct WireLimits {
  int max_json_depth = 64;       // --max-json-depth
  int max_n = 128;               // --max-n
  int max_prompts = 1024;        // --max-prompts: of one completions, embeddings, score or rerank request
  int max_choices = 1024;        // --max-choices: prompts times n
  int max_messages = 16384;      // --max-messages: of one conversation
  int max_stop_strings = 16;     // --max-stop-strings
  size_t max_stop_bytes = 1024;  // each
  int max_stop_token_ids = 256;
  int max_logit_bias = 1024;
  int max_bad_words = 256;
  size_t max_bad_word_bytes = 256;  // each
  int max_logprobs = 20;            // --max-logprobs
  int max_tools = 256;
  size_t max_tool_name_bytes = 64;
  size_t max_tools_bytes = size_t{256} << 10;    // all of them
  size_t max_grammar_bytes = size_t{256} << 10;  // of a schema, a regular expression or a grammar
  int max_grammar_choices = 1024;
  int embedding_width = 0;                       // E: the most dimensions an embedding has
  int vocabulary = 0;                            // token ids lie within [0, vocabulary)
  size_t max_template_bytes = size_t{64} << 10;  // of a chat template in a request; models' have up to 20 KiB
  size_t max_prompt_bytes = size_t{32}
                            << 20;  // one prompt or all of a conversation; more cannot fit the context
  int max_model_len = 0;            // for the message when it is passed
};

struct GenerationFields {
  std::string model;  // empty: not given
  std::optional<int> max_tokens;
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  float presence_penalty = 0, frequency_penalty = 0;
  int n = 1;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  int min_tokens = 0;
  int logprobs = -1;         // -1: none asked; else how many beside the chosen one
  int prompt_logprobs = -1;  // likewise, of the prompt's tokens
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<int32_t> allowed_token_ids;     // empty: all
  std::vector<std::string> bad_words;         // texts that must not appear
  std::optional<int> truncate_prompt_tokens;  // keep so many tokens; -1: what the model takes
  bool truncate_on_the_left = true;           // truncation_side: keep the last tokens, or the first
  std::optional<double> timeout_s;
  bool return_token_ids = false;
  std::vector<int32_t> continue_tokens;  // of an answer that broke off: go on behind them
  bool stream = false;
  bool include_usage = false, continuous_usage = false;
  bool include_stop_in_output = false;
  bool skip_special_tokens = true;
  bool echo = false;
  std::string cache_salt;
  int priority = 0;
};

// Everything but `logprobs` and `max_completion_tokens`, which the two APIs spell differently. Faults go to
// `fields`.
GenerationFields read_generation_fields(RequestFields& fields, const WireLimits& limits);

// `continue_tokens`; after `n` and `echo` are read.
void read_continuation(RequestFields& fields, const WireLimits& limits, GenerationFields& out);

// Fields that would change the answer and that this server does not serve are refused rather than ignored.
void refuse_unserved_fields(RequestFields& fields, bool takes_template = false);

// Fields that OpenAI's API has and that change nothing here.
void accept_idle_fields(RequestFields& fields);

// [1, 2, 3] within the vocabulary.
bool read_token_ids(RequestFields& fields, std::string_view name, JsonText array, const WireLimits& limits,
                    std::vector<int32_t>& out);

// kContextLength: so many bytes cannot be a prompt that fits.
Error prompt_too_large(std::string_view param, size_t bytes, const WireLimits& limits);

}  // namespace sluice
