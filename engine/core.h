// One step of the engine after another: plan, launch, collect, judge, publish. Owns the live sequences, the
// scheduler, the batches and the runner; no thread and no clock: time comes in, events go to the requests'
// sinks. Driven by Engine's loop, or by a simulation with a virtual clock. One thread.
//
// launch(), wait(), complete(), and again. Where the runner takes two steps at once, launch() starts the next
// one with tokens that are still on the device, and everything the host does for a step (judge, publish,
// admit, plan, masks) happens while the device computes another. What a step computed for a sequence that
// turns out to have ended is dropped.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/batch.h"
#include "engine/kv_events.h"
#include "engine/mask_crew.h"
#include "engine/model_runner.h"
#include "engine/options.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/stats.h"
#include "engine/step_pacer.h"
#include "engine/step_rates.h"

namespace sluice {

// Gathers a step's events and posts them once per sink.
class Outbox {
 public:
  void add(const std::shared_ptr<EventSink>& sink, TokenEvent event);
  void post();

 private:
  struct Letter {
    std::shared_ptr<EventSink> sink;
    std::vector<TokenEvent> events;
  };
  std::vector<Letter> letters_;
  size_t used_ = 0;  // letters_ beyond it are kept for their memory
};

class EngineCore {
 public:
  // `options` are complete and checked against the runner's facts.
  EngineCore(const EngineOptions& options, std::unique_ptr<ModelRunner> runner, BlockHash hash = block_hash,
             uint64_t epoch = 0);

  // `request` has passed check(); `id` was never used before.
  void add(RequestId id, Request request);
  // The final event says `reason`. False when the request has ended already.
  bool end(RequestId id, FinishReason reason, Clock::time_point now);
  void end_all(FinishReason reason, Clock::time_point now);

  // Ends what has passed its deadline, plans and starts as many steps as may be in flight. False when none
  // is.
  bool launch(Clock::time_point now);
  // Until the oldest step has ended on the device.
  void wait();
  // Appends its tokens and ends what is finished. `step_seconds`: what it cost, for the pacer. Requests may
  // be added or cancelled at any time but between wait() and this.
  void complete(Clock::time_point now, double step_seconds);
  // Posts what happened since the last call, to the requests' sinks and to those who read events.
  void publish(Clock::time_point now);

  // Opened on any thread; taken up here.
  KvEventFeed& events() { return events_; }
  void attach_reader(std::shared_ptr<KvEventCursor> cursor);

  size_t in_flight() const { return in_flight_; }  // steps
  int64_t live() const { return static_cast<int64_t>(live_.size()); }
  int64_t waiting_prompt_tokens() const { return scheduler_.counts().waiting_prompt_tokens; }
  uint64_t ended() const { return ended_; }         // requests, since the start
  int step_tokens() const { return step_tokens_; }  // of the last step
  EngineStats stats() const;
  KvLoad load() const;
  const Scheduler& scheduler() const { return scheduler_; }
  template <class F>
  void for_each_live(F&& visit) const {
    for (const auto& [id, sequence] : live_) visit(std::as_const(*sequence));
  }

 private:
  // A step on its way.
  struct Flight {
    explicit Flight(const BatchLimits& limits) : batch(limits) {}
    Batch batch;
    int tokens = 0, prefill_tokens = 0, decode_sequences = 0;
  };
  Flight& newest() { return *flights_[(oldest_ + in_flight_ - 1) % flights_.size()]; }
  bool launch_one(Clock::time_point now);
  void start_masks(const Flight& flight);
  void sample(Flight& flight);
  void tell_admission(const Sequence& sequence);
  void take_hidden(const Batch::Pooled& pooled, std::span<const float> rows, Clock::time_point now);
  void append_token(Sequence& sequence, const SampledToken& token, Clock::time_point now);
  FinishReason judge(const Sequence& sequence, int32_t token) const;
  bool is_eos(int32_t token) const;
  TokenEvent event_of(const Sequence& sequence) const;
  void finish(Sequence& sequence, TokenEvent event, FinishReason reason, Clock::time_point now);

  const EngineOptions options_;
  std::unique_ptr<ModelRunner> runner_;
  const std::vector<int32_t> eos_ids_;
  KvEventFeed events_;  // before the cache that tells it
  Scheduler scheduler_;
  std::vector<std::unique_ptr<Flight>> flights_;  // a ring
  size_t oldest_ = 0, in_flight_ = 0;
  StepPacer pacer_;
  StepRates rates_;
  Outbox outbox_;
  std::unordered_map<RequestId, std::unique_ptr<Sequence>> live_;
  bool waited_ = false;
  std::span<const SampledToken> sampled_;  // of the oldest step, when it was waited for
  std::vector<Sequence*> expired_, constrained_;
  MaskCrew masks_;
  int step_tokens_ = 0;
  uint64_t steps_ = 0;
  uint64_t told_steps_ = 0;  // when events were last published
  uint64_t generation_tokens_ = 0;
  uint64_t ended_ = 0;
  std::array<uint64_t, 6> finished_{};
  Clock::time_point last_step_;
};

}  // namespace sluice
