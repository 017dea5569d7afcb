#include "server/api/generation.h"

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "server/net/io_threads.h"
#include "server/net/sse.h"
#include "server/wire/error_body.h"

namespace sluice {
namespace {

// What is rendered and encoded on the I/O thread itself: a few milliseconds' work at most.
constexpr size_t kInlineBytes = 4096;
// With n > 1, a prompt of this many tokens is computed once, then found in the prefix cache by the other
// choices.
constexpr size_t kSharedPromptTokens = 64;

double milliseconds_between(Clock::time_point from, Clock::time_point to) {
  return std::max(0.0, std::chrono::duration<double, std::milli>(to - from).count());
}

std::string_view finish_word(Outcome outcome) {
  return outcome == Outcome::kLength ? "length" : "stop";
}

}  // namespace

Generation::Generation(Exchange& exchange, std::shared_ptr<ModelService> service, EventSwitch& events,
                       WorkPool& grammar_pool, const GenerationRequest& request)
    : exchange_(exchange),
      service_(std::move(service)),
      events_(events),
      arrival_(request.arrival),
      request_id_(request.id),
      error_style_(request.error_style),
      grammar_pool_(grammar_pool) {}

Generation::~Generation() {
  const Clock::time_point now = Clock::now();
  for (Choice& choice : choices_) {
    if (choice.submitted && !choice.end) record(choice, Outcome::kAbort, now);
    forget(choice);
  }
}

void Generation::start(size_t prompt_bytes, WorkPool& pool, std::function<Result<GenerationPlan>()> prepare) {
  if (prompt_bytes <= kInlineBytes) return begin(prepare());
  IoThread& io = exchange_.io();
  const bool taken = pool.try_run([weak = weak_from_this(), &io, prepare = std::move(prepare)] {
    if (weak.expired()) return;  // the client left while the job waited
    auto plan = std::make_shared<Result<GenerationPlan>>(prepare());
    io.post([weak, plan] {
      if (const auto self = weak.lock()) self->begin(std::move(*plan));
    });
  });
  if (!taken)
    fail(Error{ErrorCode::kOverloaded, "Too many large prompts wait to be read; try again soon.", "", 1});
}

void Generation::begin(Result<GenerationPlan> plan) {
  if (!plan.ok()) return fail(plan.error());
  plan_ = std::move(plan).value();
  if (!plan_.grammar) return submit_all();
  grammar_ = service_->grammars->find(*plan_.grammar);
  if (grammar_ != nullptr) return submit_all();
  // Compiling may take a while: on a pool of its own, where it delays nobody but other new grammars.
  const bool taken = grammar_pool_.try_run(
      [weak = weak_from_this(), service = service_, source = *plan_.grammar, &io = exchange_.io()] {
        if (weak.expired()) return;
        auto grammar =
            std::make_shared<Result<std::shared_ptr<const Grammar>>>(service->grammars->compile(source));
        io.post([weak, grammar] {
          const auto self = weak.lock();
          if (self == nullptr) return;
          if (!grammar->ok()) return self->fail(grammar->error());
          self->grammar_ = **grammar;
          self->submit_all();
        });
      });
  if (!taken)
    fail({ErrorCode::kOverloaded, "Too many new grammars wait to be compiled; try again soon.", "", 1});
}

void Generation::submit_all() {
  const auto n = static_cast<size_t>(plan_.n);
  choices_.resize(plan_.prompts.size() * n);
  open_choices_ = choices_.size();
  service_->metrics->started(plan_.n);
  for (size_t i = 0; i < choices_.size(); ++i) {
    choices_[i].prompt = static_cast<int>(i / n);
    choices_[i].text = Detokenizer::make(service_->tokenizer, plan_.text);
    choices_[i].answer = plan_.prompts[i / n].opening_text;
    if (plan_.parser.active()) choices_[i].parser = std::make_unique<AnswerParser>(plan_.parser);
  }
  const bool cache = service_->engine->options().enable_prefix_caching;
  if (!plan_.continue_tokens.empty()) {
    const Status status = replay(choices_.front());
    if (!status.ok()) return fail(status.error());
  }
  for (size_t i = 0; i < choices_.size(); ++i) {
    const bool waits = i % n > 0 && cache && plan_.prompts[i / n].ids.size() >= kSharedPromptTokens;
    if (waits) continue;  // until the first choice's first token
    const Status status = submit(static_cast<int>(i));
    if (!status.ok()) return fail(status.error());
  }
}

Status Generation::submit(int index) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  const int of_prompt = index % plan_.n;
  GenerationPlan::Prompt& prompt = plan_.prompts[static_cast<size_t>(choice.prompt)];
  Request request;
  choice.prompt_tokens = static_cast<int>(prompt.ids.size());
  if (plan_.return_token_ids) choice.prompt_token_ids = prompt.ids;
  if (plan_.timeout_s)
    request.deadline = arrival_ + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(*plan_.timeout_s));
  if (of_prompt == plan_.n - 1)
    request.prompt = std::move(prompt.ids);  // nobody needs them again
  else
    request.prompt = prompt.ids;
  request.prompt.insert(request.prompt.end(), plan_.continue_tokens.begin(), plan_.continue_tokens.end());
  request.generated_before = static_cast<int32_t>(plan_.continue_tokens.size());
  request.sampling = plan_.sampling;
  request.sampling.seed += static_cast<uint64_t>(of_prompt);
  if (grammar_ != nullptr) {
    SLUICE_ASSIGN(request.constraint, service_->grammars->constraint(*grammar_));
  }
  request.thinking = plan_.thinking;
  request.priority = plan_.priority;
  request.cache_salt = plan_.cache_salt;
  request.arrival = arrival_;
  request.sink = events_.sink();
  choice.tag = events_.open(*this, index);
  request.tag = choice.tag;
  request.name = request_id_;
  request.choice = index;
  Result<RequestHandle> handle = service_->engine->submit(std::move(request));
  if (!handle.ok()) {
    Error error = std::move(handle).error();
    if (error.code == ErrorCode::kContextLength) error.param = plan_.prompt_param;
    return error;
  }
  choice.handle = std::move(handle).value();
  choice.submitted = true;
  return {};
}

void Generation::on_tokens(int index, TokenEvent&& event, Clock::time_point now) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (over_ || choice.end) return;
  if (aborted_ && event.finish_reason == FinishReason::kCancelled) {
    choice.handle.release();
    end_choice(choice, {"abort"}, Outcome::kAbort, now);
    if (plan_.stream) send_delta(index, choice);
    if (open_choices_ == 0) finish();
    return;
  }
  if (event.finish_reason == FinishReason::kError || event.finish_reason == FinishReason::kDeadline ||
      event.finish_reason == FinishReason::kCancelled) {
    Error error = event.error;
    if (event.finish_reason == FinishReason::kDeadline)
      error = {ErrorCode::kDeadline, "The request took longer than its deadline."};
    if (event.finish_reason == FinishReason::kCancelled)
      error = {ErrorCode::kUnavailable, "The server stopped this request.", "", 1};
    choice.handle.release();
    return fail(error);
  }
  const bool first = choice.last_event == Clock::time_point();
  if (first && !event.tokens.empty()) {
    choice.first_token = event.first_token == Clock::time_point() ? now : event.first_token;
    choice.first_scheduled = event.first_scheduled;
    service_->metrics->first_token(std::chrono::duration<double>(now - arrival_).count());
  } else if (!event.tokens.empty()) {
    const double seconds = std::chrono::duration<double>(now - choice.last_event).count();
    const auto tokens = static_cast<double>(event.tokens.size());
    for (size_t i = 0; i < event.tokens.size(); ++i)
      events_.note_inter_token(service_->metrics, seconds / tokens);
  }
  choice.last_event = now;
  if (first) choice.cached_tokens = event.cached_tokens;
  if (first) take_prompt(choice, event);
  take_tokens(choice, event);
  if (choice.text->stopped()) {
    choice.handle.cancel();
    end_choice(choice, {"stop", std::nullopt, choice.text->stop_string()}, Outcome::kStop, now);
  } else if (choice.parser != nullptr && choice.parser->full() &&
             event.finish_reason == FinishReason::kNone) {
    choice.handle.cancel();
    end_choice(choice, {"stop"}, Outcome::kStop, now);
  } else if (event.finish_reason != FinishReason::kNone) {
    choice.handle.release();
    const Outcome outcome = event.finish_reason == FinishReason::kLength ? Outcome::kLength : Outcome::kStop;
    ChoiceEnd end{plan_.prompt_alone ? "length" : finish_word(outcome)};
    const auto& ids = plan_.sampling.stop_token_ids;
    if (std::find(ids.begin(), ids.end(), event.stop_token) != ids.end()) end.stop_token = event.stop_token;
    end_choice(choice, std::move(end), outcome, event.finished == Clock::time_point() ? now : event.finished);
  }
  if (plan_.stream) send_delta(index, choice);
  if (first && index % plan_.n == 0) {
    for (int other = index + 1; other < index + plan_.n; ++other) {
      if (choices_[static_cast<size_t>(other)].submitted) continue;
      const Status status = submit(other);
      if (!status.ok()) return fail(status.error());
    }
  }
  if (open_choices_ == 0) finish();
}

void Generation::finish() {
  if (plan_.stream)
    send_last_events();
  else
    send_whole();
}

bool Generation::abort() {
  if (over_ || choices_.empty()) return false;  // choices_ empty: still being prepared
  aborted_ = true;
  const Clock::time_point now = Clock::now();
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    if (choice.end) continue;
    if (choice.submitted) {
      choice.handle.cancel();  // its last event ends it
      continue;
    }
    end_choice(choice, {"abort"}, Outcome::kAbort, now);
    if (plan_.stream) send_delta(static_cast<int>(i), choice);
  }
  if (open_choices_ == 0) finish();
  return true;
}

void Generation::take_prompt(Choice& choice, const TokenEvent& event) {
  const auto bytes_of = [&](int32_t id) { return service_->tokenizer->token_bytes(id); };
  if (plan_.prompt_logprobs) {
    for (const SampledToken& token : event.prompt_logprobs) {
      auto& place = choice.prompt_logprobs.emplace_back();
      place.push_back({token.id, token.rank, {bytes_of(token.id), token.logprob}});
      for (size_t i = 0; i < token.top_logprobs.size(); ++i) {
        const TokenLogprob& top = token.top_logprobs[i];
        place.push_back({top.id, static_cast<int>(i) + 1, {bytes_of(top.id), top.logprob}});
      }
    }
  }
  if (!plan_.echo_logprobs) return;
  const GenerationPlan::Prompt& prompt = plan_.prompts[static_cast<size_t>(choice.prompt)];
  choice.logprobs.push_back({{bytes_of(prompt.first_id), std::numeric_limits<double>::quiet_NaN()}, {}});
  for (const SampledToken& token : event.prompt_logprobs) {
    choice.logprobs.push_back(logprobs_of(token));
    auto& top = choice.logprobs.back().top;  // how many were asked for there, and here
    top.resize(std::min(top.size(), static_cast<size_t>(std::max(0, plan_.sampling.logprobs))));
  }
}

void Generation::take_tokens(Choice& choice, const TokenEvent& event) {
  if (plan_.prompt_alone) return;
  size_t shown = event.tokens.size();
  const bool last = event.finish_reason != FinishReason::kNone;
  // The token that ended the answer is not part of its text.
  if (last && event.stop_token >= 0 && shown > 0 && !plan_.text.include_stop) --shown;
  size_t taken = 0;
  for (; taken < shown && !choice.text->stopped(); ++taken) {
    take_token_text(choice, event.tokens[taken].id);
    if (plan_.return_token_ids) choice.token_ids.push_back(event.tokens[taken].id);
    if (plan_.sampling.logprobs >= 0) choice.logprobs.push_back(logprobs_of(event.tokens[taken]));
  }
  if (last && !choice.text->stopped()) take_text(choice, choice.text->finish());
  choice.completion_tokens += static_cast<int>(choice.text->stopped() ? taken : event.tokens.size());
}

void Generation::take_token_text(Choice& choice, int32_t token) {
  const bool thinking = choice.parser != nullptr && choice.parser->thinking();
  take_text(choice, choice.text->push(token));
  if (thinking || (choice.parser != nullptr && choice.parser->thinking())) ++choice.reasoning_tokens;
}

// Brings text and parser to where they were when the answer broke off. Its text was told then: what is sent
// from here on begins behind it, held-back text included. Only tool calls of an answer that is not streamed
// are told whole.
Status Generation::replay(Choice& choice) {
  for (const int32_t token : plan_.continue_tokens) take_token_text(choice, token);
  if (choice.text->stopped() || (choice.parser != nullptr && choice.parser->full())) {
    return invalid_argument("continue_tokens",
                            "The answer has ended within 'continue_tokens': there is nothing to go on with.");
  }
  choice.answer.clear();
  choice.parsed.content.clear();
  choice.parsed.reasoning.clear();
  if (plan_.stream) {
    call_pieces(choice);  // calls that were begun keep their places
    choice.parsed.clear();
  }
  choice.opened = true;
  choice.completion_tokens = static_cast<int>(plan_.continue_tokens.size());
  return {};
}

void Generation::take_text(Choice& choice, std::string_view text) {
  if (choice.parser == nullptr)
    choice.answer += text;
  else
    choice.parser->push(text, choice.parsed);
}

std::span<const ToolCallPiece> Generation::call_pieces(Choice& choice) {
  pieces_.clear();
  for (const CallPiece& piece : choice.parsed.calls) {
    if (piece.begins) choice.call_ids.push_back(new_call_id(plan_.short_call_ids));
  }
  for (const CallPiece& piece : choice.parsed.calls) {
    const std::string& id = choice.call_ids[static_cast<size_t>(piece.index)];
    if (piece.begins) pieces_.push_back({piece.index, id, piece.name, ""});
    if (!piece.arguments.empty()) pieces_.push_back({piece.index, "", "", piece.arguments});
  }
  return pieces_;
}

std::vector<ToolCall> Generation::whole_calls(Choice& choice) {
  std::vector<ToolCall> calls;
  for (CallPiece& piece : choice.parsed.calls) {
    if (piece.begins) calls.push_back({new_call_id(plan_.short_call_ids), std::move(piece.name), ""});
    calls.back().arguments += piece.arguments;
  }
  return calls;
}

TokenLogprobs Generation::logprobs_of(const SampledToken& token) const {
  const auto named = [&](int32_t id, float logprob) {
    return TokenText{service_->tokenizer->token_bytes(id), logprob};
  };
  TokenLogprobs out{named(token.id, token.logprob), {}};
  for (const TokenLogprob& top : token.top_logprobs) out.top.push_back(named(top.id, top.logprob));
  return out;
}

void Generation::end_choice(Choice& choice, ChoiceEnd end, Outcome outcome, Clock::time_point now) {
  if (choice.parser != nullptr) {
    choice.parser->finish(choice.parsed);
    if (end.finish_reason == "stop" && choice.parser->calls_begun() > 0) end.finish_reason = "tool_calls";
  }
  choice.end = std::move(end);
  choice.finished = now;
  --open_choices_;
  record(choice, outcome, now);
  events_.close(choice.tag);
}

void Generation::send_delta(int index, Choice& choice) {
  choice.answer += choice.parsed.content;
  if (!plan_.include_reasoning) choice.parsed.reasoning.clear();
  const bool parsed = !choice.parsed.reasoning.empty() || !choice.parsed.calls.empty();
  // Text held back (half a character, the beginning of a stop string) waits for the next token.
  if (choice.answer.empty() && choice.logprobs.empty() && !choice.end && !parsed) return;
  out_.clear();
  if (!streaming_) {
    streaming_ = true;
    exchange_.begin(sse_head());
  }
  if (!choice.opened) {
    choice.opened = true;
    plan_.format->append_opening(out_, index, usage());
  }
  const bool very_last = choice.end && open_choices_ == 0 && !plan_.include_usage;
  const Usage totals = usage();
  const Timings times = very_last ? timings() : Timings();
  plan_.format->append_delta(out_,
                             {.index = index,
                              .text = choice.answer,
                              .logprobs = choice.logprobs,
                              .end = choice.end ? &*choice.end : nullptr,
                              .reasoning = choice.parsed.reasoning,
                              .tool_calls = call_pieces(choice),
                              .token_ids = choice.token_ids,
                              .prompt_token_ids = choice.prompt_token_ids,
                              .prompt_logprobs = choice.prompt_logprobs},
                             plan_.continuous_usage ? &totals : nullptr, very_last ? &times : nullptr);
  choice.answer.clear();
  choice.parsed.clear();
  choice.logprobs.clear();
  choice.token_ids.clear();
  choice.prompt_token_ids.clear();
  choice.prompt_logprobs.clear();
  exchange_.write(out_);  // false: the session is about to destroy this object
}

void Generation::send_last_events() {
  out_.clear();
  plan_.format->append_ending(out_, usage(), timings());
  exchange_.write(out_);
  exchange_.end();
  over_ = true;
}

void Generation::send_whole() {
  std::vector<WholeChoice> whole;
  whole.reserve(choices_.size());
  for (Choice& choice : choices_) {
    choice.answer += choice.parsed.content;
    if (!plan_.include_reasoning) choice.parsed.reasoning.clear();
    whole.push_back({.text = std::move(choice.answer),
                     .logprobs = std::move(choice.logprobs),
                     .end = *choice.end,
                     .reasoning = std::move(choice.parsed.reasoning),
                     .tool_calls = whole_calls(choice),
                     .token_ids = std::move(choice.token_ids),
                     .prompt_token_ids = std::move(choice.prompt_token_ids),
                     .prompt_logprobs = std::move(choice.prompt_logprobs)});
  }
  HttpResponse response;
  response.body = plan_.format->whole(whole, usage(), timings());
  exchange_.respond(std::move(response));
  over_ = true;
}

void Generation::fail(const Error& error) {
  const Clock::time_point now = Clock::now();
  for (Choice& choice : choices_) {
    if (choice.submitted && !choice.end) record(choice, Outcome::kError, now);
    forget(choice);
    choice.submitted = false;
  }
  over_ = true;
  if (error.code == ErrorCode::kInternal) log::error("a request failed: {}", error.message);
  if (!streaming_) return exchange_.respond(error_response(error, error_style_, request_id_));
  out_.clear();
  plan_.format->append_error(out_, error);  // the status line is gone
  exchange_.write(out_);
  exchange_.end();
}

void Generation::forget(Choice& choice) {
  if (choice.tag != 0) events_.close(choice.tag);
  choice.handle = RequestHandle();  // cancels
}

void Generation::record(const Choice& choice, Outcome outcome, Clock::time_point now) const {
  const auto seconds = [](Clock::time_point from, Clock::time_point to) {
    return milliseconds_between(from, to) / 1000;
  };
  RequestRecord record;
  record.outcome = outcome;
  record.prompt_tokens = choice.prompt_tokens;
  record.generation_tokens = choice.completion_tokens;
  record.cached_tokens = choice.cached_tokens;
  record.max_tokens = plan_.sampling.max_tokens;
  record.e2e_s = seconds(arrival_, now);
  if (choice.first_scheduled != Clock::time_point()) {
    record.queue_s = seconds(arrival_, choice.first_scheduled);
    record.prefill_s = seconds(choice.first_scheduled, choice.first_token);
    record.decode_s = seconds(choice.first_token, now);
  }
  service_->metrics->finished(record);
}

Usage Generation::usage() const {
  Usage usage;
  for (size_t i = 0; i < choices_.size(); ++i) {
    usage.completion_tokens += choices_[i].completion_tokens;
    if (!plan_.parser.reasoning.end.empty())
      usage.reasoning_tokens = std::max(usage.reasoning_tokens, 0) + choices_[i].reasoning_tokens;
    if (i % static_cast<size_t>(plan_.n) > 0) continue;  // a prompt counts once, whatever n
    usage.prompt_tokens += choices_[i].prompt_tokens;
    usage.cached_tokens += choices_[i].cached_tokens;
  }
  return usage;
}

Timings Generation::timings() const {
  Clock::time_point scheduled = Clock::time_point::max(), first = Clock::time_point::max(), last = arrival_;
  for (const Choice& choice : choices_) {
    if (choice.first_scheduled != Clock::time_point())
      scheduled = std::min(scheduled, choice.first_scheduled);
    if (choice.first_token != Clock::time_point()) first = std::min(first, choice.first_token);
    last = std::max(last, choice.finished);
  }
  if (scheduled == Clock::time_point::max() || first == Clock::time_point::max()) return {};
  return {milliseconds_between(arrival_, scheduled), milliseconds_between(scheduled, first),
          milliseconds_between(first, last)};
}

}  // namespace sluice
