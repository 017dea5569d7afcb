#include "bench/autoscale_sim.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/hash.h"

namespace sluice::autoscale {

using router::Action;
using router::kNever;
using router_sim::StepOutcome;

namespace {
constexpr const char* kModel = "model";
constexpr Seconds kLoadInterval = 0.2;  // between two words of a replica on its load
constexpr Seconds kMomentInterval = 10;
}  // namespace

struct Deployment::Event {
  enum class Kind : uint8_t {
    kArrive,
    kStep,
    kSubmit,
    kCancel,
    kFirstToken,
    kFinished,
    kLoads,
    kWake,
    kSecond,
    kLook,
    kReady,
  };
  Seconds at = 0;
  Kind kind = Kind::kWake;
  size_t pod = 0;  // or the index of the request that arrives
  router::RequestId request = 0;
  router::Attempt attempt = 0;
  uint32_t tokens = 0;
  uint64_t number = 0;  // orders what happens at one moment
};

bool Deployment::Later::operator()(const Event& a, const Event& b) const {
  return a.at != b.at ? a.at > b.at : a.number > b.number;
}

Deployment::Deployment(const DeploymentOptions& options, const Workload& workload,
                       const std::vector<int>& needed, std::unique_ptr<Scaler> scaler)
    : options_(options),
      workload_(workload),
      needed_(needed),
      scaler_(std::move(scaler)),
      core_(options.core),
      board_(options.demand),
      clients_(workload.requests.size()),
      random_(hash_combine(options.seed, 99)) {}

Deployment::~Deployment() = default;

void Deployment::post(Event event) {
  event.number = ++numbers_;
  events_.push(event);
}

// --- pods ---

int Deployment::held() const {
  return static_cast<int>(living_.size());
}
int Deployment::staying() const {
  return static_cast<int>(
      std::ranges::count_if(living_, [&](size_t i) { return pods_[i].state != PodState::kDraining; }));
}
int Deployment::ready() const {
  return static_cast<int>(
      std::ranges::count_if(living_, [&](size_t i) { return pods_[i].state == PodState::kReady; }));
}

size_t Deployment::pod_of(router::ReplicaId id) const {
  const auto at = std::ranges::find_if(living_, [&](size_t i) { return pods_[i].id == id; });
  SLUICE_CHECK(at != living_.end());
  return *at;
}

void Deployment::create_pod(Seconds cold_start) {
  random_ = hash_combine(random_, 5);
  const double jitter = 0.9 + 0.2 * static_cast<double>(random_ >> 11) / 9007199254740992.0;
  const size_t index = pods_.size();
  pods_.push_back({.name = "pod-" + std::to_string(index), .created = now_});
  living_.push_back(index);
  peak_ = std::max(peak_, held());
  if (cold_start <= 0) return pod_is_ready(index);
  board_.coming(pods_[index].name, {kModel}, true, now_);
  post({.at = now_ + cold_start * jitter, .kind = Event::Kind::kReady, .pod = index});
}

void Deployment::pod_is_ready(size_t index) {
  Pod& pod = pods_[index];
  if (pod.state != PodState::kLoading) return;  // it was taken back meanwhile
  pod.state = PodState::kReady;
  pod.ready_at = now_;
  pod.replica = std::make_unique<router_sim::SimReplica>(options_.model, index + 1);
  pod.id = core_.add_replica({.name = pod.name,
                              .models = {kModel},
                              .streams_events = true,
                              .block_tokens = options_.model.block_tokens,
                              .kv_tokens = options_.model.kv_tokens,
                              .max_running = static_cast<int>(options_.model.max_running),
                              .runs_at_once = static_cast<int>(options_.model.max_running)},
                             now_);
  core_.health_checked(pod.id, true, now_);
  for (const router_sim::KvEvent& told : pod.replica->snapshot()) core_.kv_event(pod.id, told, now_);
}

// As a ReplicaSet with the pod deletion costs that our router sets, for all signals alike: who does not run
// yet, the youngest first; then who has least in flight.
void Deployment::release_pod() {
  size_t victim = pods_.size();
  const auto rank = [&](size_t i) {
    const Pod& pod = pods_[i];
    const bool is_ready = pod.state == PodState::kReady;
    return std::tuple(is_ready, is_ready ? static_cast<double>(pod.replica->size()) : 0.0, -pod.created, i);
  };
  for (const size_t i : living_) {
    if (pods_[i].state == PodState::kDraining) continue;
    if (victim == pods_.size() || rank(i) < rank(victim)) victim = i;
  }
  Pod& pod = pods_[victim];
  if (pod.state == PodState::kLoading) return remove_pod(victim);
  pod.state = PodState::kDraining;
  core_.drain_replica(pod.id, now_);
}

void Deployment::remove_pod(size_t index) {
  Pod& pod = pods_[index];
  board_.gone(pod.name);
  if (pod.state != PodState::kLoading) core_.remove_replica(pod.id, now_);
  pod.state = PodState::kGone;
  pod.gone_at = now_;
  pod.replica.reset();
  std::erase(living_, index);
}

void Deployment::scale(int desired) {
  const int direction = desired > desired_ ? 1 : desired < desired_ ? -1 : 0;
  if (direction != 0) {
    if (direction_ == -direction) ++flaps_;
    direction_ = direction;
  }
  desired_ = desired;
  while (staying() < desired) create_pod(options_.cold_start);
  while (staying() > desired) release_pod();
}

// --- time ---

LoadSample Deployment::sample() const {
  LoadSample sample{.at = now_, .queued_in_router = static_cast<double>(core_.queued()), .ready = ready()};
  sample.in_flight = static_cast<double>(core_.live());
  for (const size_t i : living_) {
    if (pods_[i].replica == nullptr) continue;
    const router_sim::KvEvent load = pods_[i].replica->load();
    sample.waiting += load.waiting;
    sample.running += load.running;
    sample.kv_usage += load.kv_usage;
  }
  const auto told = board_.models().find(kModel);
  if (told != board_.models().end()) sample.demand = told->second.demand.replicas;
  return sample;
}

void Deployment::second() {
  // Who has answered his last request ends.
  for (const size_t i : std::vector(living_)) {
    if (pods_[i].state == PodState::kDraining && pods_[i].replica->size() == 0) remove_pod(i);
  }
  if (board_.is_due(core_, now_)) board_.make(core_, {}, now_);
  history_.add(sample());
  if (moments_.empty() || now_ >= moments_.back().at + kMomentInterval - 1e-6) {
    const size_t at = std::min(static_cast<size_t>(now_), needed_.size() - 1);
    moments_.push_back({now_, desired_, ready(), held(), needed_[at]});
  }
}

void Deployment::look() {
  scale(scaler_->look(now_, desired_, history_));
}

// --- requests ---

void Deployment::arrive(size_t index) {
  const router_sim::SimRequest& request = workload_.requests[index];
  router::RequestSketch sketch{.id = index + 1, .model = kModel, .tenant = request.tenant};
  sketch.prompt = {.kind = router::PromptChain::Kind::kBlocks,
                   .unit = workload_.block_tokens,
                   .size = request.prompt.prompt_tokens,
                   .hashes = *request.prompt.blocks};
  sketch.session_key = request.session_key;
  sketch.prompt_tokens = request.prompt.prompt_tokens;
  board_.arrived(kModel);
  core_.arrive(std::move(sketch), now_);
}

void Deployment::act() {
  core_.take_actions(actions_);
  for (const Action& action : actions_) {
    Client* client = action.request == 0 ? nullptr : &clients_[action.request - 1];
    const auto later = [&](Event::Kind kind) {
      post({.at = now_ + options_.network_delay,
            .kind = kind,
            .pod = pod_of(action.replica),
            .request = action.request,
            .attempt = action.attempt});
    };
    switch (action.kind) {
      case Action::Kind::kDispatch:
        later(Event::Kind::kSubmit);
        break;
      case Action::Kind::kCancel:
        later(Event::Kind::kCancel);
        break;
      case Action::Kind::kRelay:
        client->relayed = action.attempt;
        client->first_token = std::min(client->first_token, now_);
        board_.first_token(kModel, now_ - workload_.requests[action.request - 1].at, now_);
        break;
      case Action::Kind::kReject:
      case Action::Kind::kFail:
        client->is_lost = client->has_ended = true;
        ++ended_;
        break;
      case Action::Kind::kSnapshot: {
        const Pod& pod = pods_[pod_of(action.replica)];
        for (const router_sim::KvEvent& told : pod.replica->snapshot()) core_.kv_event(pod.id, told, now_);
        break;
      }
      case Action::Kind::kHold:
        break;
    }
  }
  const Seconds next = core_.next_wakeup();
  if (next < wakeup_) {
    wakeup_ = next;
    post({.at = std::max(next, now_), .kind = Event::Kind::kWake});
  }
}

void Deployment::schedule_step(size_t index) {
  Pod& pod = pods_[index];
  const Seconds end = pod.replica->next_end();
  if (end == kNever) return;
  post({.at = std::max(end, now_), .kind = Event::Kind::kStep, .pod = index});
  pod.scheduled = numbers_;
}

void Deployment::step(size_t index) {
  Pod& pod = pods_[index];
  StepOutcome outcome;
  pod.replica->step_end(outcome);
  for (const router_sim::KvEvent& told : outcome.events) core_.kv_event(pod.id, told, now_);
  const auto tell = [&](Event::Kind kind, const StepOutcome::One& one) {
    post({.at = now_ + options_.network_delay,
          .kind = kind,
          .pod = index,
          .request = one.request,
          .attempt = one.attempt,
          .tokens = one.output_tokens});
  };
  for (const auto& one : outcome.first_tokens) tell(Event::Kind::kFirstToken, one);
  for (const auto& one : outcome.finished) tell(Event::Kind::kFinished, one);
  schedule_step(index);
}

void Deployment::finished(const Event& event) {
  Client& client = clients_[event.request - 1];
  const Pod& pod = pods_[event.pod];
  if (client.relayed == event.attempt && pod.state != PodState::kGone) {
    // As Relay::observe_answer does.
    const router::Replica* answering = core_.fleet().find(pod.id);
    const Seconds step = (now_ - client.first_token) / std::max(event.tokens - 1, 1U);
    board_.answered(kModel, answering->in_flight + answering->foreign_running, event.tokens, step, now_);
  }
  core_.ended(event.request, event.attempt, event.tokens, now_);
  if (!client.has_ended && client.relayed == event.attempt) {
    client.has_ended = true;
    client.end = now_;
    ++ended_;
  }
}

void Deployment::handle(const Event& event) {
  using Kind = Event::Kind;
  const bool is_there = event.pod < pods_.size() && pods_[event.pod].replica != nullptr;
  switch (event.kind) {
    case Kind::kArrive:
      if (event.pod + 1 < workload_.requests.size()) {
        post({.at = workload_.requests[event.pod + 1].at, .kind = Kind::kArrive, .pod = event.pod + 1});
      }
      arrive(event.pod);
      break;
    case Kind::kStep:
      if (!is_there || pods_[event.pod].scheduled != event.number) return;
      step(event.pod);
      break;
    case Kind::kSubmit:
      if (!is_there) {
        core_.broke(event.request, event.attempt, now_);
        break;
      }
      pods_[event.pod].replica->submit(event.request, event.attempt,
                                       workload_.requests[event.request - 1].prompt, now_);
      return schedule_step(event.pod);
    case Kind::kCancel:
      if (!is_there) return;
      pods_[event.pod].replica->cancel(event.request, event.attempt, now_);
      return schedule_step(event.pod);
    case Kind::kFirstToken:
      core_.answered(event.request, event.attempt, 200, 0, now_);
      core_.first_byte(event.request, event.attempt, now_);
      break;
    case Kind::kFinished:
      finished(event);
      break;
    case Kind::kLoads:
      for (const size_t i : living_) {
        if (pods_[i].replica != nullptr) core_.kv_event(pods_[i].id, pods_[i].replica->load(), now_);
      }
      post({.at = now_ + kLoadInterval, .kind = Kind::kLoads});
      break;
    case Kind::kWake:
      wakeup_ = kNever;
      core_.advance(now_);
      break;
    case Kind::kSecond:
      second();
      post({.at = now_ + 1, .kind = Kind::kSecond});
      break;
    case Kind::kLook:
      look();
      post({.at = now_ + scaler_->interval(), .kind = Kind::kLook});
      break;
    case Kind::kReady:
      pod_is_ready(event.pod);
      break;
  }
  act();
}

AutoscaleReport Deployment::run() {
  desired_ = options_.first_replicas;
  for (int i = 0; i < desired_; ++i) create_pod(0);
  act();
  ends_ = workload_.requests.empty() ? 0 : workload_.requests.back().at;
  if (!workload_.requests.empty()) post({.at = workload_.requests[0].at, .kind = Event::Kind::kArrive});
  post({.at = kLoadInterval, .kind = Event::Kind::kLoads});
  post({.at = 0, .kind = Event::Kind::kSecond});
  post({.at = 0.5, .kind = Event::Kind::kLook});
  // Until the last answer, and as long as somebody may come.
  while (!events_.empty() && (ended_ < clients_.size() || now_ < ends_)) {
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    handle(event);
  }
  return report();
}

namespace {

double quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace

AutoscaleReport Deployment::report() const {
  AutoscaleReport report{.requests = clients_.size(), .peak = peak_, .flaps = flaps_, .moments = moments_};
  std::vector<double> ttft, itl;
  size_t good = 0;
  for (size_t i = 0; i < clients_.size(); ++i) {
    const Client& client = clients_[i];
    report.lost += client.is_lost ? 1 : 0;
    if (client.first_token == kNever) continue;
    ttft.push_back(client.first_token - workload_.requests[i].at);
    if (client.end == kNever) continue;
    const uint32_t tokens = workload_.requests[i].prompt.output_tokens;
    const double gap = tokens > 1 ? (client.end - client.first_token) / (tokens - 1) : 0;
    if (tokens > 1) itl.push_back(gap);
    good += ttft.back() <= options_.slo.ttft && gap <= options_.slo.itl ? 1 : 0;
  }
  report.slo = clients_.empty() ? 1 : static_cast<double>(good) / static_cast<double>(clients_.size());
  report.ttft_mean = mean(ttft);
  report.ttft_p99 = quantile(ttft, 0.99);
  report.itl_mean = mean(itl);
  report.itl_p99 = quantile(itl, 0.99);
  for (const Pod& pod : pods_) {
    report.replica_hours += ((pod.state == PodState::kGone ? pod.gone_at : now_) - pod.created) / 3600;
  }
  double beyond = 0, needed = 0;
  Seconds shortage = 0;
  for (const Moment& moment : moments_) {
    beyond += std::max(moment.held - moment.needed, 0);
    needed += moment.needed;
    const bool is_short = moment.ready < moment.needed;
    shortage = is_short ? shortage + kMomentInterval : 0;
    report.longest_shortage = std::max(report.longest_shortage, shortage);
    report.short_share += is_short ? 1 / static_cast<double>(moments_.size()) : 0;
  }
  report.overshoot = needed > 0 ? beyond / needed : 0;
  return report;
}

}  // namespace sluice::autoscale
