#include "server/api/plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "base/hash.h"
#include "base/log.h"
#include "server/api/text_shield.h"
#include "server/wire/anthropic_request.h"
#include "server/wire/completion_request.h"
#include "server/wire/model_list.h"

namespace sluice {
namespace {

uint64_t draw_seed(const ModelService& service) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return hash_combine(service.engine->options().seed, random());
}

SamplingParams sampling_of(const GenerationFields& fields, const ModelService& service) {
  const GenerationDefaults& defaults = service.defaults;
  SamplingParams sampling;
  sampling.temperature = fields.temperature.value_or(defaults.temperature.value_or(1.0F));
  sampling.top_k = fields.top_k.value_or(defaults.top_k.value_or(0));
  sampling.top_p = fields.top_p.value_or(defaults.top_p.value_or(1.0F));
  sampling.min_p = fields.min_p.value_or(defaults.min_p.value_or(0.0F));
  sampling.repetition_penalty =
      fields.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0F));
  sampling.presence_penalty = fields.presence_penalty;
  sampling.frequency_penalty = fields.frequency_penalty;
  sampling.seed = fields.seed ? *fields.seed : draw_seed(service);
  sampling.logprobs = fields.logprobs;
  sampling.prompt_logprobs = fields.prompt_logprobs;
  sampling.min_tokens = fields.min_tokens;
  sampling.ignore_eos = fields.ignore_eos;
  sampling.stop_token_ids = fields.stop_token_ids;
  sampling.logit_bias = fields.logit_bias;
  sampling.allowed_token_ids = fields.allowed_token_ids;
  return sampling;
}

// A word's tokens at the beginning of a text and behind a space, as vLLM bans it.
Status append_bad_words(const std::vector<std::string>& words, const Tokenizer& tokenizer,
                        std::vector<std::vector<int32_t>>& bad_tokens) {
  for (const std::string& word : words) {
    for (const std::string& spelling : {word, " " + word}) {
      SLUICE_ASSIGN(std::vector<int32_t> ids, tokenizer.encode(spelling, false, false));
      if (ids.empty() || std::ranges::find(bad_tokens, ids) != bad_tokens.end()) continue;
      bad_tokens.push_back(std::move(ids));
    }
  }
  return {};
}

void truncate(std::vector<int32_t>& ids, const GenerationFields& fields, int max_model_len) {
  if (!fields.truncate_prompt_tokens) return;
  // -1: as many as leave room for the answer.
  const int room = max_model_len - std::max(1, fields.max_tokens.value_or(1));
  const int keep = *fields.truncate_prompt_tokens < 0 ? std::max(1, room) : *fields.truncate_prompt_tokens;
  const auto most = static_cast<size_t>(keep);
  if (ids.size() <= most) return;
  if (fields.truncate_on_the_left)
    ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(most));
  else
    ids.resize(most);
}

Error context_length_error(size_t prompt_tokens, int max_tokens, int max_model_len,
                           const std::string& param) {
  if (max_tokens <= 0) {
    return Error{
        ErrorCode::kContextLength,
        fmt::format(
            "This model's maximum context length is {} tokens. However, your prompt has {} tokens, which "
            "leaves no room for an answer. Shorten the prompt.",
            max_model_len, prompt_tokens),
        param};
  }
  return Error{
      ErrorCode::kContextLength,
      fmt::format(
          "This model's maximum context length is {} tokens. However, you requested {} tokens: {} in the "
          "prompt and {} for the answer. Shorten the prompt or lower max_tokens.",
          max_model_len, prompt_tokens + static_cast<size_t>(max_tokens), prompt_tokens, max_tokens),
      param};
}

// max_tokens where the request gave none: the model's default, or the rest of the context.
Result<int> answer_tokens(const GenerationPlan& plan, std::optional<int> asked, const ModelService& service) {
  const int max_model_len = service.limits.max_model_len;
  size_t longest = 0;
  for (const auto& prompt : plan.prompts) longest = std::max(longest, prompt.ids.size());
  const auto room = static_cast<int64_t>(max_model_len) - static_cast<int64_t>(longest);
  if (room < 1) return context_length_error(longest, asked.value_or(0), max_model_len, plan.prompt_param);
  if (!asked)
    return static_cast<int>(std::min<int64_t>(room, service.defaults.max_tokens.value_or(max_model_len)));
  if (*asked > room) return context_length_error(longest, *asked, max_model_len, plan.prompt_param);
  return *asked;
}

Result<GenerationPlan> plan_of(const GenerationFields& fields, const ModelService& service,
                               const std::string& param) {
  GenerationPlan plan;
  plan.sampling = sampling_of(fields, service);
  SLUICE_TRY(append_bad_words(fields.bad_words, *service.tokenizer, plan.sampling.bad_tokens));
  plan.return_token_ids = fields.return_token_ids;
  plan.continue_tokens = fields.continue_tokens;
  plan.prompt_logprobs = fields.prompt_logprobs >= 0;
  plan.timeout_s = fields.timeout_s;
  plan.prompt_param = param;
  plan.n = fields.n;
  plan.text.stop = fields.stop;
  plan.text.include_stop = fields.include_stop_in_output;
  plan.text.skip_special = fields.skip_special_tokens;
  plan.stream = fields.stream;
  plan.include_usage = fields.include_usage;
  plan.continuous_usage = fields.continuous_usage;
  plan.priority = fields.priority;
  plan.cache_salt =
      fields.cache_salt.empty() ? 0 : hash_bytes(fields.cache_salt.data(), fields.cache_salt.size());
  return plan;
}

AnswerOptions answer_options(const GenerationFields& fields, const ModelService& service,
                             const PlanRequest& request, std::string model) {
  AnswerOptions options;
  options.request_id = request.request_id;
  options.model = std::move(model);
  options.created_s = std::time(nullptr);
  options.fingerprint = service.fingerprint;
  options.logprobs = fields.logprobs >= 0;
  options.prompt_logprobs = fields.prompt_logprobs >= 0;
  options.token_ids = fields.return_token_ids;
  options.include_usage = fields.include_usage;
  return options;
}

}  // namespace

void report_ignored(const std::vector<std::string>& ignored, const std::string& request_id) {
  for (const std::string& name : ignored)
    log::debug("request {}: the field '{}' is ignored", request_id, log::safe(name, 64));
}

Result<std::string> render_chat(const ModelService& service, const ChatRequest& request) {
  auto chat_template = service.chat_template;
  if (!request.chat_template.empty()) {
    SLUICE_ASSIGN(chat_template, chat_template->of_request(request.chat_template));
  }
  auto text = chat_template->render(request.template_variables);
  if (!text.ok()) {
    Error error = std::move(text).error();
    if (error.code == ErrorCode::kInvalidArgument && error.param.empty()) error.param = "messages";
    return error;
  }
  if (text->size() > service.limits.max_prompt_bytes)
    return prompt_too_large("messages", text->size(), service.limits);
  return text;
}

Result<std::vector<int32_t>> encode_chat(const ModelService& service, const ChatRequest& request) {
  SLUICE_ASSIGN(const std::string text, render_chat(service, request));
  return encode_rendered(service, request, text);
}

Result<std::vector<int32_t>> encode_rendered(const ModelService& service, const ChatRequest& request,
                                             const std::string& text) {
  // The template writes the special tokens itself, BOS among them.
  if (request.covered.empty()) return service.tokenizer->encode(text, false, true);
  std::vector<int32_t> ids;
  for (const TextShield::Piece& piece : TextShield::uncover(text, request.covered)) {
    SLUICE_ASSIGN(const std::vector<int32_t> part,
                  service.tokenizer->encode(piece.text, false, !piece.covered));
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return ids;
}

namespace {

// All but the format.
Result<GenerationPlan> plan_conversation(const ModelService& service, const std::string& request_id,
                                         const ChatRequest& chat, const std::string& param) {
  report_ignored(chat.ignored, request_id);
  SLUICE_ASSIGN(GenerationPlan plan, plan_of(chat.fields, service, param));
  SLUICE_ASSIGN(const std::string text, render_chat(service, chat));
  SLUICE_ASSIGN(std::vector<int32_t> ids, encode_rendered(service, chat, text));
  SLUICE_ASSIGN(DialoguePlan dialogue, plan_dialogue(service.dialogue, chat, text));
  if (ids.empty()) return invalid_argument("messages", "The conversation renders to an empty prompt.");
  truncate(ids, chat.fields, service.limits.max_model_len);
  plan.grammar = std::move(dialogue.grammar);
  plan.parser = std::move(dialogue.parser);
  plan.text.shown = std::move(dialogue.shown);
  plan.thinking = std::move(dialogue.thinking);
  plan.include_reasoning = dialogue.include_reasoning;
  plan.short_call_ids = dialogue.short_call_ids;
  plan.text.continues_text = chat.continue_final_message;
  plan.prompts.push_back({std::move(ids), chat.fields.echo ? chat.final_message : ""});
  SLUICE_ASSIGN(plan.sampling.max_tokens, answer_tokens(plan, chat.fields.max_tokens, service));
  return plan;
}

using MakeFormat = std::unique_ptr<AnswerFormat> (*)(const AnswerOptions& options);

Result<GenerationPlan> plan_chat_like(const ModelService& service, const PlanRequest& request,
                                      const ChatRequest& chat, MakeFormat make_format) {
  SLUICE_ASSIGN(std::string model, service.answer_name(chat.fields.model));
  SLUICE_ASSIGN(GenerationPlan plan, plan_conversation(service, request.request_id, chat, "messages"));
  plan.format = make_format(answer_options(chat.fields, service, request, std::move(model)));
  return plan;
}

}  // namespace

Result<GenerationPlan> plan_chat(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(const ChatRequest chat, parse_chat_request(request.body, service.limits, service.dialect));
  return plan_chat_like(service, request, chat, AnswerFormat::chat);
}

Result<GenerationPlan> plan_messages(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(const ChatRequest chat,
                parse_messages_request(request.body, service.limits, service.dialect, false));
  return plan_chat_like(service, request, chat, AnswerFormat::messages);
}

namespace {

// The chat of a response without its first `skip` messages, and whether it fits.
Result<GenerationPlan> plan_without(const ModelService& service, const std::string& request_id,
                                    const ResponsesRequest& request, size_t skip) {
  const std::string body = chat_body_of(request, skip);
  SLUICE_ASSIGN(ChatRequest chat, parse_chat_request(body, service.limits, service.dialect));
  chat.ignored.clear();  // of the body we wrote
  return plan_conversation(service, request_id, chat, "input");
}

// Drops as few of the oldest messages as it takes. A tool's answer goes with its call.
Result<GenerationPlan> plan_truncated(const ModelService& service, const std::string& request_id,
                                      const ResponsesRequest& request, Error too_long_whole) {
  const size_t kept = request.has_instructions ? 1 : 0;
  std::vector<size_t> skips;
  for (size_t skip = 1; kept + skip < request.messages.size(); ++skip) {
    if (!request.messages[kept + skip].starts_with(R"({"role":"tool")")) skips.push_back(skip);
  }
  Result<GenerationPlan> best = std::move(too_long_whole);
  size_t low = 0, high = skips.size();  // what is dropped more fits better
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    auto plan = plan_without(service, request_id, request, skips[middle]);
    const bool too_long = !plan.ok() && plan.error().code == ErrorCode::kContextLength;
    if (too_long)
      low = middle + 1;
    else
      high = middle;
    if (!too_long || !best.ok()) best = std::move(plan);
  }
  return best;
}

}  // namespace

Result<GenerationPlan> plan_response(const ModelService& service, const std::string& request_id,
                                     const ResponsesRequest& request) {
  report_ignored(request.ignored, request_id);
  auto plan = plan_without(service, request_id, request, 0);
  if (!plan.ok() && plan.error().code == ErrorCode::kContextLength && request.truncate)
    plan = plan_truncated(service, request_id, request, plan.error());
  if (!plan.ok()) return in_responses_words(plan.error());
  return plan;
}

Result<GenerationPlan> plan_completion(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(CompletionRequest completion, parse_completion_request(request.body, service.limits));
  const GenerationFields& fields = completion.fields;
  report_ignored(completion.ignored, request.request_id);
  SLUICE_ASSIGN(std::string model, service.answer_name(fields.model));
  SLUICE_ASSIGN(GenerationPlan plan, plan_of(fields, service, "prompt"));
  plan.grammar = std::move(completion.grammar);
  plan.text.continues_text = true;
  for (CompletionPrompt& prompt : completion.prompts) {
    GenerationPlan::Prompt one;
    if (auto* text = std::get_if<std::string>(&prompt)) {
      // As a tokenizer of transformers and vLLM reads a raw prompt: a special token spelled out is that
      // token, so that clients may render a chat template themselves.
      SLUICE_ASSIGN(one.ids, service.tokenizer->encode(*text, completion.add_special_tokens, true));
      if (fields.echo) one.opening_text = std::move(*text);
    } else {
      one.ids = std::move(std::get<std::vector<int32_t>>(prompt));
      if (fields.echo) one.opening_text = service.tokenizer->decode(one.ids, fields.skip_special_tokens);
    }
    if (one.ids.empty()) return invalid_argument("prompt", "A prompt is empty.");
    truncate(one.ids, fields, service.limits.max_model_len);
    one.first_id = one.ids.front();
    plan.prompts.push_back(std::move(one));
  }
  if (fields.echo && fields.logprobs >= 0) {
    plan.echo_logprobs = true;
    plan.sampling.prompt_logprobs = std::max(fields.prompt_logprobs, fields.logprobs);
  }
  plan.prompt_alone = fields.max_tokens == 0;
  SLUICE_ASSIGN(plan.sampling.max_tokens,
                answer_tokens(plan, plan.prompt_alone ? 1 : fields.max_tokens, service));
  plan.format = AnswerFormat::completion(answer_options(fields, service, request, std::move(model)));
  return plan;
}

namespace {

RenderedPrompt rendered(const ModelService& service, const GenerationPlan& plan,
                        const GenerationPlan::Prompt& prompt) {
  const SamplingParams& sampling = plan.sampling;
  return {.text = service.tokenizer->decode(prompt.ids, false),
          .ids = prompt.ids,
          .max_tokens = plan.prompt_alone ? 0 : sampling.max_tokens,
          .temperature = sampling.temperature,
          .top_p = sampling.top_p,
          .min_p = sampling.min_p,
          .repetition_penalty = sampling.repetition_penalty,
          .presence_penalty = sampling.presence_penalty,
          .frequency_penalty = sampling.frequency_penalty,
          .top_k = sampling.top_k,
          .n = plan.n};
}

}  // namespace

Result<std::string> render_chat_request(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(const ChatRequest chat, parse_chat_request(request.body, service.limits, service.dialect));
  SLUICE_ASSIGN(const std::string model, service.answer_name(chat.fields.model));
  SLUICE_ASSIGN(const GenerationPlan plan, plan_conversation(service, request.request_id, chat, "messages"));
  return rendered_body(request.request_id, model, rendered(service, plan, plan.prompts.front()));
}

Result<std::string> render_completion_request(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(const CompletionRequest completion, parse_completion_request(request.body, service.limits));
  SLUICE_ASSIGN(const std::string model, service.answer_name(completion.fields.model));
  SLUICE_ASSIGN(const GenerationPlan plan, plan_completion(service, request));
  std::string out = "[";
  for (const GenerationPlan::Prompt& prompt : plan.prompts) {
    if (out.size() > 1) out += ',';
    out += rendered_body(request.request_id, model, rendered(service, plan, prompt));
  }
  return out + "]";
}

}  // namespace sluice
