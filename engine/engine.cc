// The loop: drain the inbox, launch a step, wait for it, complete it, publish. Here are the two thread
// crossings: requests come in through the inbox, events go out through sinks, statistics through a small lock
// once a step.
#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <variant>

#include "base/inbox.h"
#include "engine/core.h"
#include "engine/request_check.h"
#include "engine/retry_estimate.h"
#include "engine/sentence.h"

namespace sluice {
namespace {

constexpr size_t kMaxStepTokens = 4096;  // entries kept for take_step_tokens

struct Submission {
  RequestId id;
  Request request;
};
struct Cancellation {
  RequestId id;
};
struct Reading {
  std::shared_ptr<KvEventCursor> cursor;
};
struct EndReadings {};
using Message = std::variant<Submission, Cancellation, Reading, EndReadings>;

uint64_t random_epoch() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

class LoopEngine final : public Engine {
 public:
  LoopEngine(const EngineOptions& options, std::unique_ptr<ModelRunner> runner)
      : options_(options),
        facts_(runner->facts()),
        max_live_(int64_t{options.max_num_seqs} + options.max_num_queued_reqs),
        core_(options, std::move(runner), block_hash, random_epoch()),
        inbox_(SIZE_MAX),  // submissions are bounded by their places, cancellations by the handles there are
        stats_(core_.stats()) {
    show_progress();
    loop_ = std::thread([this] { run(); });
    pthread_setname_np(loop_.native_handle(), "sluice-engine");
  }

  ~LoopEngine() override {
    draining_ = true;
    inbox_.close();  // first: nothing comes in after the loop's last drain
    stopping_ = true;
    loop_.join();
  }

  Result<RequestHandle> submit(Request request) override;
  void cancel(RequestId id) override { inbox_.push_unbounded(Cancellation{id}); }
  EngineStats stats() const override;
  const EngineOptions& options() const override { return options_; }
  std::vector<int32_t> take_step_tokens() override;
  bool makes_progress(std::chrono::milliseconds stall) const override;
  Result<std::unique_ptr<KvEventReader>> read_events(std::optional<KvEventPlace> from,
                                                     std::shared_ptr<KvEventListener> listener) override;
  void begin_leaving() override { inbox_.push_unbounded(EndReadings{}); }
  void begin_drain() override {
    draining_ = true;
    begin_leaving();
  }
  bool idle() const override { return unheard_ == 0; }

 private:
  Status reserve_place(int64_t prompt_tokens);
  void give_place_back(int64_t prompt_tokens);

  // Engine thread.
  void run();
  void take_messages();
  bool run_step();
  std::chrono::milliseconds patience();
  void publish(bool step_ended);
  void show_progress() { progress_ = Clock::now().time_since_epoch().count(); }

  const EngineOptions options_;
  const RunnerFacts facts_;
  const int64_t max_live_;

  EngineCore core_;  // engine thread
  Inbox<Message> inbox_;
  std::vector<Message> messages_;    // engine thread
  uint64_t published_ended_ = 0;     // engine thread
  Clock::time_point last_step_end_;  // engine thread
  RetryEstimate retry_;

  std::atomic<RequestId> last_id_ = 0;
  std::atomic<bool> draining_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> live_ = 0;              // accepted and not ended: places taken
  std::atomic<int64_t> unheard_ = 0;           // accepted and their final event not yet posted
  std::atomic<int64_t> submitted_tokens_ = 0;  // prompt tokens in the inbox, not yet in the core's own count
  std::atomic<int64_t> waiting_tokens_ = 0;    // the core's count
  std::atomic<uint64_t> refused_ = 0;
  std::atomic<Clock::rep> progress_ = 0;  // when the loop last showed that it lives, or became busy

  mutable std::mutex stats_mutex_;
  EngineStats stats_;
  std::deque<int32_t> step_tokens_;

  std::thread loop_;  // last: everything is there when it starts
};

Result<RequestHandle> LoopEngine::submit(Request request) {
  SLUICE_CHECK(request.sink != nullptr);
  SLUICE_TRY(check(request, options_, facts_));
  if (draining_) {
    return Error{ErrorCode::kUnavailable,
                 "The server is shutting down and takes no new requests. Try again on another replica.", "",
                 1};
  }
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  SLUICE_TRY(reserve_place(prompt_tokens));
  ++unheard_;
  const RequestId id = ++last_id_;
  if (!inbox_.try_push(Submission{id, std::move(request)})) {
    // Closed: the engine is being destroyed.
    give_place_back(prompt_tokens);
    --unheard_;
    return Error{ErrorCode::kUnavailable, "The server is shutting down.", "", 1};
  }
  return handle(id);
}

Status LoopEngine::reserve_place(int64_t prompt_tokens) {
  if (live_ == 0) show_progress();  // idle until now: the time for a hang counts from here
  const int64_t live = live_.fetch_add(1);
  const int64_t queued_tokens = submitted_tokens_.fetch_add(prompt_tokens) + waiting_tokens_;
  const bool too_many = live >= max_live_;
  const bool too_long = options_.max_num_queued_tokens > 0 && queued_tokens > 0 &&
                        queued_tokens + prompt_tokens > options_.max_num_queued_tokens;
  if (!too_many && !too_long) return {};
  give_place_back(prompt_tokens);
  ++refused_;
  const std::string what =
      too_many ? sentence(live, " requests are running or waiting (--max-num-seqs ", options_.max_num_seqs,
                          " and --max-num-queued-reqs ", options_.max_num_queued_reqs, ")")
               : sentence(queued_tokens, " prompt tokens are waiting (--max-num-queued-tokens ",
                          options_.max_num_queued_tokens, ")");
  const int wait_s = retry_.seconds(std::max<int64_t>(1, live - options_.max_num_seqs));
  return Error{ErrorCode::kOverloaded,
               sentence("The server is overloaded: ", what, ". Try again in about ", wait_s, " s."), "",
               wait_s};
}

void LoopEngine::give_place_back(int64_t prompt_tokens) {
  submitted_tokens_ -= prompt_tokens;
  --live_;
}

EngineStats LoopEngine::stats() const {
  std::lock_guard lock(stats_mutex_);
  EngineStats stats = stats_;
  // What is still in the inbox waits too, though the loop has not seen it yet.
  stats.waiting = static_cast<int>(std::max<int64_t>(0, live_ - stats.running));
  stats.waiting_prompt_tokens = waiting_tokens_ + submitted_tokens_;
  stats.refused = refused_;
  return stats;
}

std::vector<int32_t> LoopEngine::take_step_tokens() {
  std::lock_guard lock(stats_mutex_);
  std::vector<int32_t> taken(step_tokens_.begin(), step_tokens_.end());
  step_tokens_.clear();
  return taken;
}

bool LoopEngine::makes_progress(std::chrono::milliseconds stall) const {
  if (live_ == 0) return true;
  const Clock::time_point last{Clock::duration{progress_}};
  return Clock::now() - last <= stall;
}

void LoopEngine::run() {
  while (!stopping_) {
    take_messages();
    if (run_step()) continue;
    show_progress();
    inbox_.wait_for(patience());
  }
  take_messages();
  core_.end_all(FinishReason::kCancelled, Clock::now());
  publish(false);
}

// Nothing is live: only a message changes anything. But those who read events are to hear of the last change.
std::chrono::milliseconds LoopEngine::patience() {
  if (core_.events().takes_snapshot()) return std::chrono::milliseconds(0);
  return core_.events().load_waits() ? KvEventFeed::kLoadInterval : std::chrono::seconds(60);
}

void LoopEngine::take_messages() {
  inbox_.drain(messages_);
  for (Message& message : messages_) {
    if (auto* submission = std::get_if<Submission>(&message)) {
      const auto prompt_tokens = static_cast<int64_t>(submission->request.prompt.size());
      core_.add(submission->id, std::move(submission->request));
      // Grows before the other shrinks: refuse rather too early than too late.
      waiting_tokens_ = core_.waiting_prompt_tokens();
      submitted_tokens_ -= prompt_tokens;
    } else if (auto* cancellation = std::get_if<Cancellation>(&message)) {
      core_.end(cancellation->id, FinishReason::kCancelled, Clock::now());
    } else if (auto* reading = std::get_if<Reading>(&message)) {
      core_.attach_reader(std::move(reading->cursor));
    } else if (std::holds_alternative<EndReadings>(message)) {
      core_.events().close();
    }
  }
  messages_.clear();
}

bool LoopEngine::run_step() {
  const auto now = Clock::now();
  // A step that was launched behind another begins when that one ends.
  const auto start = core_.in_flight() > 0 ? last_step_end_ : now;
  const bool launched = core_.launch(now);
  if (launched) {
    waiting_tokens_ = core_.waiting_prompt_tokens();  // what was admitted waits no more
    core_.wait();
    last_step_end_ = Clock::now();
    core_.complete(last_step_end_, std::chrono::duration<double>(last_step_end_ - start).count());
    show_progress();
  }
  publish(launched);
  return launched;
}

// Statistics and places first: whoever hears the last event finds them up to date. Idle last: whoever finds
// the engine idle has been posted every event.
void LoopEngine::publish(bool step_ended) {
  const auto ended = static_cast<int64_t>(core_.ended() - std::exchange(published_ended_, core_.ended()));
  {
    std::lock_guard lock(stats_mutex_);
    stats_ = core_.stats();
    if (step_ended) {
      if (step_tokens_.size() == kMaxStepTokens) step_tokens_.pop_front();
      step_tokens_.push_back(core_.step_tokens());
    }
    waiting_tokens_ = core_.waiting_prompt_tokens();
    live_ -= ended;
  }
  retry_.observe(core_.ended(), Clock::now());
  core_.publish(Clock::now());
  unheard_ -= ended;
}

Result<std::unique_ptr<KvEventReader>> LoopEngine::read_events(std::optional<KvEventPlace> from,
                                                               std::shared_ptr<KvEventListener> listener) {
  SLUICE_ASSIGN(KvEventFeed::Opened opened, core_.events().open(from, std::move(listener)));
  inbox_.push_unbounded(Reading{std::move(opened.cursor)});
  return std::move(opened.reader);
}

Status check_against(const EngineOptions& o, const RunnerFacts& facts) {
  const auto at_most = [](const char* flag, int64_t value, int64_t limit) -> Status {
    if (value <= limit) return {};
    return invalid_argument(
        flag, sentence(flag, " is ", value, ", but the runner was made for at most ", limit, "."));
  };
  SLUICE_TRY(at_most("--max-model-len", o.max_model_len, facts.max_model_len));
  SLUICE_TRY(at_most("--max-num-seqs", o.max_num_seqs, facts.max_sequences));
  SLUICE_TRY(at_most("--max-num-batched-tokens", o.max_num_batched_tokens, facts.max_tokens_per_step));
  if (o.block_size != facts.block_tokens) {
    return invalid_argument("--block-size",
                            sentence("--block-size is ", o.block_size, ", but the runner's KV blocks hold ",
                                     facts.block_tokens, " tokens."));
  }
  if (facts.block_count < 1)
    return Error{ErrorCode::kOutOfMemory, "The KV cache has no blocks; give it more memory."};
  return {};
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::start(const EngineOptions& asked,
                                              std::unique_ptr<ModelRunner> runner) {
  SLUICE_CHECK(runner != nullptr);
  EngineOptions options = asked;
  if (options.max_model_len == 0) options.max_model_len = runner->facts().max_model_len;
  SLUICE_TRY(check(options));
  SLUICE_TRY(check_against(options, runner->facts()));
  return std::unique_ptr<Engine>(std::make_unique<LoopEngine>(options, std::move(runner)));
}

RequestHandle::RequestHandle(RequestHandle&& other) noexcept
    : engine_(std::exchange(other.engine_, nullptr)), id_(std::exchange(other.id_, 0)) {}

RequestHandle& RequestHandle::operator=(RequestHandle&& other) noexcept {
  if (this != &other) {
    cancel();
    engine_ = std::exchange(other.engine_, nullptr);
    id_ = std::exchange(other.id_, 0);
  }
  return *this;
}

RequestHandle::~RequestHandle() {
  cancel();
}

void RequestHandle::cancel() {
  if (engine_ != nullptr) std::exchange(engine_, nullptr)->cancel(id_);
}

void RequestHandle::release() {
  engine_ = nullptr;
}

}  // namespace sluice
