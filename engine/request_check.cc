#include "engine/request_check.h"

#include <algorithm>

#include "engine/sentence.h"

namespace sluice {
namespace {

constexpr size_t kMaxLogitBiases = 4096;
constexpr size_t kMaxStopIds = 256;
constexpr size_t kMaxBadSequences = 1024;

Status in_vocabulary(const char* param, int64_t id, int vocabulary) {
  if (id >= 0 && id < vocabulary) return {};
  return invalid_argument(param, sentence(param, ": token id ", id, " is outside the model's vocabulary of ",
                                          vocabulary, " tokens."));
}

Status within(const char* param, double value, double low, double high) {
  if (value >= low && value <= high) return {};  // false for NaN
  return invalid_argument(param,
                          sentence(param, " is ", value, "; it must be from ", low, " to ", high, "."));
}

Status check_sampling(const SamplingParams& p, const RunnerFacts& facts) {
  const int vocabulary = facts.vocabulary, most_logprobs = std::min(vocabulary, facts.max_logprobs);
  SLUICE_TRY(within("temperature", p.temperature, 0, 1e6));
  if (!(p.top_p > 0 && p.top_p <= 1)) {
    return invalid_argument("top_p", sentence("top_p is ", p.top_p, "; it must be above 0 and at most 1."));
  }
  SLUICE_TRY(within("min_p", p.min_p, 0, 1));
  SLUICE_TRY(within("repetition_penalty", p.repetition_penalty, 1e-3, 1e3));
  SLUICE_TRY(within("presence_penalty", p.presence_penalty, -1e3, 1e3));
  SLUICE_TRY(within("frequency_penalty", p.frequency_penalty, -1e3, 1e3));
  SLUICE_TRY(within("logprobs", p.logprobs, -1, most_logprobs));
  SLUICE_TRY(within("prompt_logprobs", p.prompt_logprobs, -1, most_logprobs));
  if (p.max_tokens < 1) {
    return invalid_argument("max_tokens",
                            sentence("max_tokens is ", p.max_tokens, "; it must be at least 1."));
  }
  SLUICE_TRY(within("min_tokens", p.min_tokens, 0, p.max_tokens));
  if (p.stop_token_ids.size() > kMaxStopIds) {
    return invalid_argument("stop_token_ids", sentence("stop_token_ids has ", p.stop_token_ids.size(),
                                                       " entries; at most ", kMaxStopIds, " are allowed."));
  }
  for (const int32_t id : p.stop_token_ids) SLUICE_TRY(in_vocabulary("stop_token_ids", id, vocabulary));
  if (p.logit_bias.size() > kMaxLogitBiases) {
    return invalid_argument("logit_bias", sentence("logit_bias has ", p.logit_bias.size(),
                                                   " entries; at most ", kMaxLogitBiases, " are allowed."));
  }
  for (const int32_t id : p.allowed_token_ids) SLUICE_TRY(in_vocabulary("allowed_token_ids", id, vocabulary));
  if (p.bad_tokens.size() > kMaxBadSequences) {
    return invalid_argument("bad_words", sentence("bad_words has ", p.bad_tokens.size(),
                                                  " spellings; at most ", kMaxBadSequences, " are allowed."));
  }
  for (const auto& sequence : p.bad_tokens) {
    if (sequence.empty()) return invalid_argument("bad_words", "An entry of bad_words has no tokens.");
    for (const int32_t id : sequence) SLUICE_TRY(in_vocabulary("bad_words", id, vocabulary));
  }
  for (const auto& [id, bias] : p.logit_bias) {
    SLUICE_TRY(in_vocabulary("logit_bias", id, vocabulary));
    SLUICE_TRY(within("logit_bias", bias, -1e6, 1e6));
  }
  return {};
}

}  // namespace

Status check(const Request& request, const EngineOptions& options, const RunnerFacts& facts) {
  if (request.prompt.empty())
    return invalid_argument("prompt", "The prompt is empty; it needs at least one token.");
  const int64_t prompt = static_cast<int64_t>(request.prompt.size()) - request.generated_before;
  if (request.generated_before < 0 || prompt < 1)
    return invalid_argument("prompt", "The prompt is empty but for what was generated before.");
  if (request.generated_before > 0 && request.generated_before >= request.sampling.max_tokens) {
    return invalid_argument(
        "continue_tokens", sentence("The answer is complete: it has ", request.generated_before,
                                    " tokens already, and max_tokens is ", request.sampling.max_tokens, "."));
  }
  const bool pooled = request.pooling != Pooling::kNone;
  const int64_t answer = pooled ? 1 : request.sampling.max_tokens;
  if (pooled && prompt > options.max_model_len) {
    return Error{ErrorCode::kContextLength,
                 sentence("This model's maximum context length is ", options.max_model_len,
                          " tokens. However, the input has ", prompt, " tokens. Shorten it."),
                 "input"};
  }
  if (!pooled && prompt + 1 > options.max_model_len) {
    return Error{ErrorCode::kContextLength,
                 sentence("This model's maximum context length is ", options.max_model_len,
                          " tokens. However, the prompt has ", prompt,
                          " tokens, which leaves no room for an answer. Shorten the prompt."),
                 "prompt"};
  }
  if (!pooled) SLUICE_TRY(check_sampling(request.sampling, facts));
  if (!pooled && prompt + answer > options.max_model_len) {
    return Error{
        ErrorCode::kContextLength,
        sentence("This model's maximum context length is ", options.max_model_len, " tokens. However, ",
                 prompt + answer, " tokens were asked for (", prompt, " in the prompt, ", answer,
                 " for the answer). Shorten the prompt or lower max_tokens to ",
                 options.max_model_len - prompt, "."),
        "max_tokens"};
  }
  for (const auto* ids : {&request.thinking.begin_ids, &request.thinking.end_ids}) {
    for (const int32_t id : *ids) SLUICE_TRY(in_vocabulary("thinking", id, facts.vocabulary));
  }
  for (const int32_t id : request.prompt) SLUICE_TRY(in_vocabulary("prompt", id, facts.vocabulary));
  const int64_t capacity = facts.block_count * facts.block_tokens;
  if (prompt + answer - 1 > capacity) {  // the last token's keys and values are never needed
    if (pooled) {
      return invalid_argument("input", sentence("The KV cache of this server holds ", capacity,
                                                " tokens; an input of ", prompt, " can never fit."));
    }
    return invalid_argument(
        "max_tokens",
        sentence("The KV cache of this server holds ", capacity, " tokens; ", prompt, " in the prompt and ",
                 answer, " for the answer can never fit. Shorten the prompt or lower max_tokens."));
  }
  return {};
}

}  // namespace sluice
