#include "engine/core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"

namespace sluice {
namespace {

SchedulerOptions scheduler_options(const EngineOptions& o, const RunnerFacts& facts, BlockHash hash) {
  return {.block_count = facts.block_count,
          .block_tokens = facts.block_tokens,
          .max_running = o.max_num_seqs,
          .budget_tokens = o.max_num_batched_tokens,
          .max_head_bypass = o.max_head_bypass,
          .prefix_caching = o.enable_prefix_caching,
          .by_priority = o.scheduling_policy == "priority",
          .priority_aging_ms = o.priority_aging_ms,
          .hash = hash};
}

BatchLimits batch_limits(const EngineOptions& o, const RunnerFacts& facts) {
  return {.tokens = o.max_num_batched_tokens,
          .sequences = o.max_num_seqs,
          .max_model_len = o.max_model_len,
          .block_tokens = facts.block_tokens};
}

KvEventFeed::Name name_of(const Sequence& s) {
  return {s.request.name, s.request.choice};
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::ranges::find(ids, id) != ids.end();
}

}  // namespace

void Outbox::add(const std::shared_ptr<EventSink>& sink, TokenEvent event) {
  size_t at = 0;  // few sinks: one per I/O thread
  while (at < used_ && letters_[at].sink != sink) ++at;
  if (at == used_) {
    if (used_ == letters_.size()) letters_.emplace_back();
    letters_[used_++].sink = sink;
  }
  letters_[at].events.push_back(std::move(event));
}

void Outbox::post() {
  for (size_t i = 0; i < used_; ++i) {
    letters_[i].sink->post(std::move(letters_[i].events));
    letters_[i].events.clear();
    letters_[i].sink.reset();
  }
  used_ = 0;
}

EngineCore::EngineCore(const EngineOptions& options, std::unique_ptr<ModelRunner> runner, BlockHash hash,
                       uint64_t epoch)
    : options_(options),
      runner_(std::move(runner)),
      eos_ids_(runner_->facts().eos_ids),
      events_(epoch),
      scheduler_(scheduler_options(options, runner_->facts(), hash)),
      pacer_(options.target_decode_latency_ms, options.max_num_batched_tokens, options.block_size),
      rates_(options.max_num_batched_tokens) {
  const int steps = options.async_scheduling ? runner_->facts().steps_in_flight : 1;
  for (int i = 0; i < steps; ++i)
    flights_.push_back(std::make_unique<Flight>(batch_limits(options, runner_->facts())));
}

void EngineCore::add(RequestId id, Request request) {
  SLUICE_CHECK(!waited_);
  auto s = std::make_unique<Sequence>();
  s->id = id;
  s->tokens = std::move(request.prompt);
  s->prompt_length = s->length() - request.generated_before;
  s->request = std::move(request);
  SamplingParams& sampling = s->request.sampling;
  if (s->request.pooling != Pooling::kNone) {
    sampling = {};
    sampling.max_tokens = 1;  // what the step after the prompt would bring
  }
  if (sampling.min_tokens > 0) {
    s->banned_until_min_tokens = sampling.stop_token_ids;
    if (!sampling.ignore_eos) {
      s->banned_until_min_tokens.insert(s->banned_until_min_tokens.end(), eos_ids_.begin(), eos_ids_.end());
    }
  }
  if (s->request.constraint != nullptr || !sampling.allowed_token_ids.empty()) {
    s->allowed_mask.resize((static_cast<size_t>(runner_->facts().vocabulary) + 31) / 32);
    for (const int32_t id : sampling.allowed_token_ids)
      s->allowed_mask[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
    if (s->request.constraint != nullptr && !sampling.allowed_token_ids.empty())
      s->allowed_always = s->allowed_mask;
  }
  const auto output = s->output();
  for (size_t i = 0; i < output.size(); ++i)
    s->thinking.next(s->request.thinking, output.first(i), output[i]);
  scheduler_.add(*s);
  live_.emplace(id, std::move(s));
}

bool EngineCore::end(RequestId id, FinishReason reason, Clock::time_point now) {
  SLUICE_CHECK(!waited_);
  const auto found = live_.find(id);
  if (found == live_.end()) return false;
  finish(*found->second, event_of(*found->second), reason, now);
  return true;
}

void EngineCore::end_all(FinishReason reason, Clock::time_point now) {
  while (!live_.empty()) end(live_.begin()->first, reason, now);
}

bool EngineCore::launch(Clock::time_point now) {
  SLUICE_CHECK(!waited_);
  scheduler_.expired(now, expired_);
  for (Sequence* s : expired_) finish(*s, event_of(*s), FinishReason::kDeadline, now);
  while (in_flight_ < flights_.size() && launch_one(now)) continue;
  return in_flight_ > 0;
}

bool EngineCore::launch_one(Clock::time_point now) {
  if (!scheduler_.has_work()) return false;
  // What its hidden states are kept in is not there twice.
  if (in_flight_ > 0 && !newest().batch.pooled().empty()) return false;
  const Plan& plan = scheduler_.plan(pacer_.prefill_limit());
  if (plan.empty()) {
    scheduler_.complete();
    return false;
  }
  for (const PlanItem& item : plan.items) {
    Sequence& s = *item.sequence;
    if (s.first_scheduled != Clock::time_point{}) continue;
    s.first_scheduled = now;
    tell_admission(s);
  }
  ++in_flight_;
  Flight& flight = newest();
  flight.tokens = plan.tokens;
  flight.prefill_tokens = plan.prefill_tokens;
  flight.decode_sequences = plan.decode_sequences;
  const StepBatch& batch = flight.batch.build(plan);
  scheduler_.complete();
  const bool tokens_known = in_flight_ == 1;
  if (tokens_known) start_masks(flight);
  runner_->launch(batch);
  if (tokens_known) sample(flight);
  return true;
}

void EngineCore::start_masks(const Flight& flight) {
  constrained_.clear();
  for (const Batch::Sampled& row : flight.batch.sampled()) {
    if (row.sequence != nullptr && row.given < 0 && row.sequence->request.constraint != nullptr)
      constrained_.push_back(row.sequence);
  }
  if (!constrained_.empty()) masks_.start(constrained_, eos_ids_);
}

void EngineCore::sample(Flight& flight) {
  masks_.wait();
  runner_->sample(flight.batch.sampling());
}

void EngineCore::wait() {
  SLUICE_CHECK(in_flight_ > 0 && !waited_);
  waited_ = true;
  sampled_ = runner_->collect();
  SLUICE_CHECK_EQ(sampled_.size(), flights_[oldest_]->batch.sampled().size());
}

void EngineCore::complete(Clock::time_point now, double step_seconds) {
  SLUICE_CHECK(waited_);
  waited_ = false;
  const Flight& flight = *flights_[oldest_];
  oldest_ = (oldest_ + 1) % flights_.size();
  --in_flight_;
  pacer_.step_took(step_seconds, flight.prefill_tokens, flight.decode_sequences);
  rates_.step_took(step_seconds, flight.prefill_tokens);
  step_tokens_ = flight.tokens;
  last_step_ = now;
  ++steps_;
  for (size_t i = 0; i < sampled_.size(); ++i) {
    const Batch::Sampled& row = flight.batch.sampled()[i];
    if (row.sequence == nullptr) continue;
    if (row.given >= 0)
      row.sequence->prompt_logprobs.push_back(sampled_[i]);
    else
      append_token(*row.sequence, sampled_[i], now);
  }
  std::span<const float> hidden = runner_->hidden();
  for (const Batch::Pooled& pooled : flight.batch.pooled()) {
    const auto size = static_cast<size_t>(pooled.rows) * static_cast<size_t>(runner_->facts().width);
    if (pooled.sequence != nullptr) take_hidden(pooled, hidden.first(size), now);
    hidden = hidden.subspan(size);
  }
  if (in_flight_ > 0) {
    start_masks(newest());
    sample(newest());
  }
}

void EngineCore::take_hidden(const Batch::Pooled& pooled, std::span<const float> rows,
                             Clock::time_point now) {
  Sequence& s = *pooled.sequence;
  const auto width = static_cast<size_t>(runner_->facts().width);
  TokenEvent event = event_of(s);
  if (s.request.pooling == Pooling::kLast) {
    event.embedding.assign(rows.begin(), rows.end());
  } else {
    if (pooled.first == 0) s.hidden_sum.assign(width, 0);  // also after a preemption
    for (size_t i = 0; i < rows.size(); ++i) s.hidden_sum[i % width] += rows[i];
    if (!pooled.ends) return;
    for (const double sum : s.hidden_sum)
      event.embedding.push_back(static_cast<float>(sum / s.prompt_length));
  }
  event.first_token = now;
  finish(s, std::move(event), FinishReason::kStop, now);
}

void EngineCore::append_token(Sequence& s, const SampledToken& sampled, Clock::time_point now) {
  SLUICE_CHECK(sampled.id >= 0 && sampled.id < runner_->facts().vocabulary);
  SampledToken token = sampled;
  token.id = s.thinking.next(s.request.thinking, s.output(), sampled.id);
  if (token.id != sampled.id) token.logprob = 0;  // it was certain
  const bool first = s.generated() == s.request.generated_before;
  if (first) {
    s.first_token = now;
    events_.prefilled(name_of(s));
  }
  const int32_t id = token.id;
  s.tokens.push_back(id);
  const bool as_chosen = id == sampled.id;
  if (!as_chosen && in_flight_ > 0) newest().batch.drop(s);
  scheduler_.token_known(s, as_chosen);
  ++generation_tokens_;
  TokenEvent event = event_of(s);
  if (first) event.prompt_logprobs = std::move(s.prompt_logprobs);
  event.tokens.push_back(std::move(token));
  if (s.constraint_failed) {
    event.tokens.clear();
    event.error = {ErrorCode::kInvalidArgument,
                   "The answer cannot go on: no token of this model writes what its grammar demands next."};
    finish(s, std::move(event), FinishReason::kError, now);
    return;
  }
  const FinishReason reason = judge(s, id);
  if (reason == FinishReason::kNone) {
    outbox_.add(s.request.sink, std::move(event));
    return;
  }
  if (reason == FinishReason::kStop) event.stop_token = id;
  finish(s, std::move(event), reason, now);
}

FinishReason EngineCore::judge(const Sequence& s, int32_t token) const {
  const SamplingParams& p = s.request.sampling;
  if (s.request.constraint != nullptr && is_eos(token)) return FinishReason::kStop;
  if (s.generated() >= p.min_tokens) {
    if (!p.ignore_eos && is_eos(token)) return FinishReason::kStop;
    if (contains(p.stop_token_ids, token)) return FinishReason::kStop;
  }
  return s.generated() >= p.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

bool EngineCore::is_eos(int32_t token) const {
  return contains(eos_ids_, token);
}

TokenEvent EngineCore::event_of(const Sequence& s) const {
  TokenEvent event;
  event.id = s.id;
  event.tag = s.request.tag;
  event.prompt_tokens = s.prompt_length;
  event.cached_tokens = std::min(s.cached_tokens, s.prompt_length);
  event.completion_tokens = s.generated();
  event.first_scheduled = s.first_scheduled;
  event.first_token = s.first_token;
  return event;
}

void EngineCore::finish(Sequence& s, TokenEvent event, FinishReason reason, Clock::time_point now) {
  event.finish_reason = reason;
  event.finished = now;
  ++finished_[static_cast<size_t>(reason)];
  ++ended_;
  scheduler_.remove(s);
  for (size_t i = 0; i < in_flight_; ++i) flights_[(oldest_ + i) % flights_.size()]->batch.drop(s);
  events_.finished(name_of(s), reason, s.generated());
  outbox_.add(s.request.sink, std::move(event));
  live_.erase(s.id);  // and with it `s`
}

void EngineCore::tell_admission(const Sequence& s) {
  if (!events_.on()) return;
  const Scheduler::PromptBlocks blocks = scheduler_.prompt_blocks(s);
  events_.admitted(
      name_of(s),
      {.tokens = s.length(), .cached_tokens = s.cached_tokens, .blocks = blocks.count, .hash = blocks.hash});
}

void EngineCore::attach_reader(std::shared_ptr<KvEventCursor> cursor) {
  scheduler_.estimate_waiting();
  events_.attach(std::move(cursor), scheduler_.cache());
}

void EngineCore::publish(Clock::time_point now) {
  outbox_.post();
  if (!events_.on()) return;
  const bool moved = std::exchange(told_steps_, steps_) != steps_;
  if (events_.load_due(now, moved)) events_.load(load(), now);
  events_.publish(scheduler_.cache());
}

KvLoad EngineCore::load() const {
  const SchedulerCounts& counts = scheduler_.counts();
  const BlockPool& pool = scheduler_.pool();
  KvLoad load;
  load.running = static_cast<int32_t>(scheduler_.running().size());
  load.waiting = static_cast<int32_t>(scheduler_.waiting_count());
  load.waiting_uncached_tokens = counts.waiting_uncached_tokens;
  for (const Sequence* s : scheduler_.running())
    if (s->uncomputed() > 1) load.prefilling_tokens += s->uncomputed();
  load.kv_blocks_total = pool.block_count();
  load.kv_blocks_used = pool.used_count();
  load.kv_blocks_cached = pool.cached_free_count();
  load.prefill_tokens_per_s = rates_.prefill_tokens_per_s();
  load.decode_step_s = rates_.decode_step_s();
  return load;
}

EngineStats EngineCore::stats() const {
  const SchedulerCounts& counts = scheduler_.counts();
  const BlockPool& pool = scheduler_.pool();
  EngineStats stats;
  stats.running = static_cast<int>(scheduler_.running().size());
  stats.waiting = static_cast<int>(scheduler_.waiting_count());
  stats.waiting_prompt_tokens = counts.waiting_prompt_tokens;
  stats.kv_blocks_total = pool.block_count();
  stats.kv_blocks_used = pool.used_count();
  stats.kv_blocks_cached = pool.cached_free_count();
  stats.steps = steps_;
  stats.prompt_tokens = counts.prompt_tokens;
  stats.prompt_tokens_cached = counts.prompt_tokens_cached;
  stats.generation_tokens = generation_tokens_;
  stats.preemptions = counts.preemptions;
  stats.prefix_cache_queries = counts.prefix_cache_queries;
  stats.prefix_cache_hits = counts.prefix_cache_hits;
  stats.finished = finished_;
  stats.last_step = last_step_;
  return stats;
}

}  // namespace sluice
