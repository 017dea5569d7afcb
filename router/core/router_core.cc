#include "router/core/router_core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "router/core/router_core_state.h"

namespace sluice::router {

RouterCore::RouterCore(const RouterCoreOptions& options)
    : options_(options),
      index_(options.index),
      dictionary_(options.dictionary_bytes, options.index.secret),
      fleet_(options.fleet),
      retry_budget_(options.retry_budget),
      hedge_budget_(options.hedge_budget),
      tokens_per_byte_(options.tokens_per_byte),
      random_(hash_combine(options.seed, 0x736c75696365)),
      match_(std::make_unique<PrefixMatch>()) {}

RouterCore::~RouterCore() = default;

// --- requests ---

void RouterCore::arrive(RequestSketch sketch, Seconds now) {
  now_ = now;
  SLUICE_CHECK(sketch.id != 0);
  const RequestId id = sketch.id;
  auto [at, is_new] = requests_.try_emplace(id);
  SLUICE_CHECK(is_new);
  at->second = std::make_unique<Request>();
  Request& request = *at->second;
  request.sketch = std::move(sketch);
  request.prompt_tokens = prompt_tokens_of(request.sketch);
  request.deadline = std::min(request.sketch.deadline, now + options_.default_deadline);
  ++stats_.arrived;
  retry_budget_.earn(now);
  hedge_budget_.earn(now);
  Group& group = group_of(request.sketch.model);
  ++group.requests;
  group.arrived_prefill += group.missing * request.prompt_tokens * fleet_.mean_rate().token_seconds;
  if (requests_.size() > options_.max_in_flight) {
    return reject(request, Ending::kFull, 503, "The router has too many requests in flight; try again later.",
                  now);
  }
  if (request.deadline <= now) {
    return reject(request, Ending::kDeadline, 504, "The request's deadline had passed when it arrived.", now);
  }
  if (group.queue.empty() && try_dispatch(request, now)) return;
  hold(request, false, now);  // or it is rejected, and with it its group may be gone
  pump_all(now);
}

void RouterCore::answered(RequestId id, Attempt number, int status, Seconds retry_after, Seconds now) {
  now_ = now;
  Request* request = find(id);
  Try* attempt = request == nullptr ? nullptr : request->find(number);
  if (attempt == nullptr || attempt->status != 0) return;
  attempt->status = status;
  const Outcome outcome = outcome_of_status(status);
  if (outcome == Outcome::kGood || request->relayed != 0) return;
  if (outcome == Outcome::kNeutral) {
    request->sketch.resumable = false;  // what has begun is an error's text
    return relay(*request, *attempt, now);
  }
  request->last_status = status;
  request->last_retry_after = retry_after;
  if (ReplicaId replica = attempt->replica; outcome == Outcome::kFault) {
    if (Replica* r = fleet_.find(replica)) ++r->faults;
  }
  request->avoid.push_back(attempt->replica);
  end_try(*request, number, outcome, retry_after, true, now);
  if (request->tries.empty()) try_again(*request, request->resume, now);
}

void RouterCore::first_byte(RequestId id, Attempt number, Seconds now) {
  now_ = now;
  Request* request = find(id);
  Try* attempt = request == nullptr ? nullptr : request->find(number);
  if (attempt == nullptr) return;
  if (attempt->first_byte_at == kNever) {
    attempt->first_byte_at = now;
    prompt_computed(*request, *attempt, now);
  }
  if (request->relayed == 0) relay(*request, *attempt, now);
  pump_all(now);
}

void RouterCore::ended(RequestId id, Attempt number, uint32_t output_tokens, Seconds now) {
  now_ = now;
  Request* request = find(id);
  Try* attempt = request == nullptr ? nullptr : request->find(number);
  if (attempt == nullptr) return;
  if (request->relayed == 0) relay(*request, *attempt, now);
  attempt = request->find(number);
  if (Replica* replica = fleet_.find(attempt->replica);
      replica != nullptr && output_tokens > 1 && attempt->first_byte_at < now) {
    replica->rate.observe_decode_step((now - attempt->first_byte_at) / (output_tokens - 1));
    replica->placed.placed(output_tokens, now);
  }
  end_try(*request, number, outcome_of_status(attempt->status == 0 ? 200 : attempt->status), 0, false, now);
  end_request(*request, Ending::kFinished, now);
}

void RouterCore::broke(RequestId id, Attempt number, Seconds now) {
  now_ = now;
  Request* request = find(id);
  Try* attempt = request == nullptr ? nullptr : request->find(number);
  if (attempt == nullptr) return;
  if (Replica* replica = fleet_.find(attempt->replica)) ++replica->faults;
  request->avoid.push_back(attempt->replica);
  const bool was_relayed = request->relayed == number;
  request->last_status = 0;
  end_try(*request, number, Outcome::kFault, 0, false, now);
  if (was_relayed) {
    request->relayed = 0;
    return try_again(*request, true, now);
  }
  if (request->tries.empty()) try_again(*request, request->resume, now);
}

void RouterCore::client_left(RequestId id, Seconds now) {
  now_ = now;
  if (Request* request = find(id)) end_request(*request, Ending::kClientLeft, now);
}

RouterCore::Request* RouterCore::find(RequestId id) {
  const auto at = requests_.find(id);
  return at == requests_.end() ? nullptr : at->second.get();
}

void RouterCore::relay(Request& request, Try& attempt, Seconds now) {
  request.relayed = attempt.number;
  request.streaming = true;
  if (attempt.is_hedge) ++stats_.hedges_won;
  actions_.push_back({.kind = Action::Kind::kRelay,
                      .request = request.sketch.id,
                      .attempt = attempt.number,
                      .replica = attempt.replica});
  // From here on it may take its time, and nobody else needs to try.
  set_timer(request, kNever);
  for (size_t i = request.tries.size(); i-- > 0;) {
    const Attempt other = request.tries[i].number;
    if (other != request.relayed) end_try(request, other, Outcome::kNeutral, 0, true, now);
  }
}

// The last attempt failed: another one, if the request allows it and the budget has one.
void RouterCore::try_again(Request& request, bool resume, Seconds now) {
  const bool allowed = request.streaming ? request.sketch.resumable : request.sketch.retryable;
  const bool backpressure = !resume && outcome_of_status(request.last_status) == Outcome::kBackpressure;
  if (!allowed || request.attempts >= static_cast<Attempt>(options_.max_attempts) ||
      !(backpressure || retry_budget_.spend(now))) {
    if (request.streaming) {
      actions_.push_back(
          {.kind = Action::Kind::kFail,
           .request = request.sketch.id,
           .message = "The replica that was answering broke off; what came before is all there is."});
      return end_request(request, Ending::kMidstream, now);
    }
    return reject(request, Ending::kUpstream, backpressure ? request.last_status : 502,
                  backpressure ? "All replicas that were asked are overloaded; try again later."
                               : "No replica could answer the request; the last one that was asked failed.",
                  now);
  }
  request.resume = resume;
  ++(resume ? stats_.resumes : stats_.retries);
  // The client waits anew: its first deadline was for the first byte.
  if (request.streaming) request.deadline = now + options_.default_deadline;
  if (!try_dispatch(request, now)) hold(request, true, now);
}

void RouterCore::end_try(Request& request, Attempt number, Outcome outcome, Seconds retry_after, bool cancel,
                         Seconds now) {
  const auto at = std::ranges::find(request.tries, number, &Try::number);
  SLUICE_CHECK(at != request.tries.end());
  if (cancel) {
    actions_.push_back({.kind = Action::Kind::kCancel,
                        .request = request.sketch.id,
                        .attempt = number,
                        .replica = at->replica});
  }
  if (Replica* replica = fleet_.find(at->replica)) replica->breaker.ended(outcome, now, retry_after);
  request.tries.erase(at);  // and its charge
}

void RouterCore::end_request(Request& request, Ending ending, Seconds now) {
  while (!request.tries.empty()) {
    end_try(request, request.tries.back().number, Outcome::kNeutral, 0, true, now);
  }
  switch (ending) {
    case Ending::kFinished:
      ++stats_.finished;
      break;
    case Ending::kFull:
      ++stats_.rejected_full;
      break;
    case Ending::kDeadline:
      ++stats_.rejected_deadline;
      break;
    case Ending::kUpstream:
      ++stats_.rejected_upstream;
      break;
    case Ending::kMidstream:
      ++stats_.failed_midstream;
      break;
    case Ending::kClientLeft:
      ++stats_.client_left;
      break;
  }
  Group& group = group_of(request.sketch.model);
  if (request.queued) {
    group.queue.erase(request.sketch.id);
    --queued_;
    queued_tokens_ -= request.prompt_tokens;
  }
  set_timer(request, kNever);
  const auto at = requests_.find(request.sketch.id);
  const std::unique_ptr<Request> last = std::move(at->second);
  requests_.erase(at);
  // Names of models that nobody serves come from clients and are not kept.
  if (--group.requests == 0 && group.members.empty()) groups_.erase(last->sketch.model);
  pump_all(now);
}

void RouterCore::reject(Request& request, Ending ending, int status, std::string message, Seconds now) {
  Seconds pause = 0;
  if (status == 429 || status == 503) pause = std::max(retry_after(), request.last_retry_after);
  actions_.push_back({.kind = Action::Kind::kReject,
                      .request = request.sketch.id,
                      .status = status,
                      .retry_after = pause,
                      .message = std::move(message)});
  end_request(request, ending, now);
}

// --- time ---

void RouterCore::set_timer(Request& request, Seconds at) {
  if (request.timer == at) return;
  if (request.timer != kNever) timers_.erase({request.timer, request.sketch.id});
  request.timer = at;
  if (at != kNever) timers_.emplace(at, request.sketch.id);
}

void RouterCore::advance(Seconds now) {
  now_ = now;
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Request& request = *requests_.find(timers_.begin()->second)->second;
    if (request.deadline <= now) {
      if (request.streaming) {  // a continuation that found no replica in time
        actions_.push_back({.kind = Action::Kind::kFail,
                            .request = request.sketch.id,
                            .message = "The answer broke off and could not be continued in time."});
        end_request(request, Ending::kMidstream, now);
      } else {
        const bool held = request.queued;
        reject(request, Ending::kDeadline, held ? 503 : 504,
               held ? "No replica was free before the request's deadline; try again later."
                    : "No replica answered before the request's deadline.",
               now);
      }
      continue;
    }
    hedge(request, now);
    set_timer(request, request.deadline);
  }
  update_horizons(now);
  index_.sweep(64);
  pump_all(now);
}

Seconds RouterCore::next_wakeup() const {
  Seconds at = timers_.empty() ? kNever : timers_.begin()->first;
  // Waits shrink and breakers open as time passes; nothing else tells a queue that it may move.
  if (queued_ > 0) at = std::min(at, now_ + 0.05);
  return at;
}

void RouterCore::take_actions(std::vector<Action>& actions) {
  actions.clear();
  std::swap(actions, actions_);
}

// As long as the fleet needs to work off what waits, or until there is one, between 1 and 60 s, and each
// client its own moment.
Seconds RouterCore::retry_after() {
  Seconds wait = 0;
  bool has_ready = false;
  for (const auto& replica : fleet_.replicas()) {
    wait = std::max(wait, replica->wait_seconds(now_));
    has_ready |= replica->state == ReplicaState::kReady;
  }
  if (!has_ready && replica_expected_ < kNever) wait = std::max(wait, replica_expected_ - now_);
  const double rate = 1 / fleet_.mean_rate().token_seconds;
  const auto replicas = static_cast<double>(std::max<size_t>(fleet_.replicas().size(), 1));
  wait += static_cast<double>(queued_tokens_) / (rate * replicas);
  return std::clamp(wait, 1.0, 60.0) * (0.75 + 0.5 * random_unit());
}

double RouterCore::random_unit() {
  random_ = hash_combine(random_, ++turn_);
  return static_cast<double>(random_ >> 11) / 9007199254740992.0;
}

// --- looking in ---

ModelLoad RouterCore::load_of(const std::string& model, Seconds now) const {
  ModelLoad load;
  const auto at = groups_.find(model);
  if (at != groups_.end()) {
    const Group& group = *at->second;
    load.requests = static_cast<double>(group.requests);
    load.queued = load.uncomputed = static_cast<double>(group.queue.size());
    load.queued_tokens = static_cast<double>(group.queue.tokens());
    load.queue_backlog = load.queued_tokens * group.missing * fleet_.mean_rate().token_seconds;
    load.backlog = load.queue_backlog;
    load.arrived_prefill = group.arrived_prefill;
  }
  for (const auto& replica : fleet_.replicas()) {
    if (replica->state == ReplicaState::kGone || !serves(*replica, model)) continue;
    ++load.replicas[static_cast<size_t>(replica->state)];
    load.uncomputed += replica->prefilling;
    load.backlog += replica->wait_seconds(now);
    load.running_tokens += static_cast<double>(replica->context_tokens);
    if (replica->state != ReplicaState::kReady) continue;
    load.kv_in_use += replica->kv_usage();
    const ReplicaSpec& spec = replica->spec;
    load.max_running +=
        spec.runs_at_once > 0 ? std::min(spec.runs_at_once, spec.max_running) : spec.max_running;
  }
  const int ready = load.replicas[static_cast<size_t>(ReplicaState::kReady)];
  if (ready > 0) load.max_running /= ready;
  return load;
}

const Decision* RouterCore::explain(RequestId id) const {
  const auto at = requests_.find(id);
  return at == requests_.end() ? nullptr : at->second->decision.get();
}

Decision RouterCore::consider(const RequestSketch& sketch, Seconds now) {
  Request request;
  request.sketch = sketch;
  request.sketch.explain = true;
  request.prompt_tokens = prompt_tokens_of(sketch);
  Group& group = group_of(sketch.model);
  const RouterStats before = stats_;
  Decision decision{.at = now, .prompt_tokens = request.prompt_tokens};
  if (gather(request, group, now)) {
    decide(request, group, now);
    decision = std::move(*request.decision);
  }
  stats_ = before;
  if (group.requests == 0 && group.members.empty()) groups_.erase(sketch.model);
  return decision;
}

}  // namespace sluice::router
