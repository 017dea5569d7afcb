// The shared heart of all endpoints that generate: prompt to engine requests, tokens to text, text to the
// wire, streamed or whole. One per HTTP request; lives on its I/O thread as the session's Responder, so its
// destruction (the client left, or the answer has ended) cancels whatever still runs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/api/dialogue.h"
#include "server/api/event_switch.h"
#include "server/api/model_service.h"
#include "server/api/work_pool.h"
#include "server/net/exchange.h"
#include "server/wire/answer_format.h"
#include "server/wire/error_body.h"

namespace sluice {

// What is to be generated: all text work is done.
struct GenerationPlan {
  struct Prompt {
    std::vector<int32_t> ids;
    std::string opening_text;  // what the answer repeats first (echo)
    int32_t first_id = 0;      // of `ids`, which move to the engine
  };
  std::vector<Prompt> prompts;  // each gives n choices
  SamplingParams sampling;      // of the first choice; the others differ in their seed
  std::string prompt_param;     // the request's field that holds the prompt, for messages
  int n = 1;
  Detokenizer::Options text;
  bool stream = false, include_usage = false, continuous_usage = false;
  int priority = 0;
  uint64_t cache_salt = 0;
  bool return_token_ids = false;
  std::vector<int32_t> continue_tokens;  // of the one choice: generated before and told already
  bool prompt_logprobs = false;          // show them by themselves
  bool echo_logprobs = false;            // and as those of the echoed prompt, before the answer's
  bool prompt_alone = false;             // the one token that the engine makes at least is not shown
  std::optional<double> timeout_s;       // since the request's arrival
  std::unique_ptr<AnswerFormat> format;
  std::optional<GrammarSource> grammar;  // what every choice must match
  AnswerParserOptions parser;            // when active: of the text of every choice
  ThinkingBudget thinking;
  bool include_reasoning = true, short_call_ids = false;
};

struct GenerationRequest {
  std::string id;
  Clock::time_point arrival;
  ErrorStyle error_style = ErrorStyle::kOpenAi;
};

class Generation final : public Responder,
                         public TokenListener,
                         public std::enable_shared_from_this<Generation> {
 public:
  Generation(Exchange& exchange, std::shared_ptr<ModelService> service, EventSwitch& events,
             WorkPool& grammar_pool, const GenerationRequest& request);
  ~Generation() override;

  // Something that lives as long as this answer.
  void keep(std::shared_ptr<void> companion) { companion_ = std::move(companion); }
  // Ends every choice with finish_reason "abort" and what it has; false: over already.
  bool abort();

  // Makes the plan, here when `prompt_bytes` are few, else on `pool`, and goes on from there. `prepare` may
  // run on another thread and after this object is gone: it holds what it needs by value.
  void start(size_t prompt_bytes, WorkPool& pool, std::function<Result<GenerationPlan>()> prepare);

 private:
  struct Choice {
    int prompt = 0;
    RequestHandle handle;
    uint64_t tag = 0;
    std::unique_ptr<Detokenizer> text;
    std::string answer;  // what is not yet sent, or all of it
    std::unique_ptr<AnswerParser> parser;
    ParsedText parsed;                  // likewise
    std::vector<std::string> call_ids;  // of the calls begun so far
    int reasoning_tokens = 0;
    std::vector<TokenLogprobs> logprobs;                        // likewise
    std::vector<int32_t> token_ids, prompt_token_ids;           // likewise, with return_token_ids
    std::vector<std::vector<PromptCandidate>> prompt_logprobs;  // likewise
    std::optional<ChoiceEnd> end;
    bool submitted = false, opened = false;
    int prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
    Clock::time_point first_scheduled, first_token, finished, last_event;
  };

  void begin(Result<GenerationPlan> plan);
  void submit_all();
  Status submit(int index);
  void on_tokens(int index, TokenEvent&& event, Clock::time_point now) override;
  void take_tokens(Choice& choice, const TokenEvent& event);
  void take_prompt(Choice& choice, const TokenEvent& event);
  Status replay(Choice& choice);
  void take_token_text(Choice& choice, int32_t token);
  void take_text(Choice& choice, std::string_view text);
  std::span<const ToolCallPiece> call_pieces(Choice& choice);
  std::vector<ToolCall> whole_calls(Choice& choice);
  void end_choice(Choice& choice, ChoiceEnd end, Outcome outcome, Clock::time_point now);
  void send_delta(int index, Choice& choice);
  void send_whole();
  void finish();
  void send_last_events();
  void fail(const Error& error);
  void forget(Choice& choice);
  void record(const Choice& choice, Outcome outcome, Clock::time_point now) const;
  TokenLogprobs logprobs_of(const SampledToken& token) const;
  Usage usage() const;
  Timings timings() const;

  Exchange& exchange_;
  const std::shared_ptr<ModelService> service_;
  EventSwitch& events_;
  const Clock::time_point arrival_;
  const std::string request_id_;
  const ErrorStyle error_style_;
  WorkPool& grammar_pool_;
  std::shared_ptr<void> companion_;
  GenerationPlan plan_;
  std::shared_ptr<const Grammar> grammar_;
  std::vector<Choice> choices_;  // of prompt p: [p * n, (p + 1) * n)
  size_t open_choices_ = 0;
  bool streaming_ = false;  // the head is sent
  bool over_ = false, aborted_ = false;
  std::vector<ToolCallPiece> pieces_;  // of the delta being written
  std::string out_;                    // events of one step, written at once
};

}  // namespace sluice
