#include "bench/router_sim.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace sluice::router_sim {

using router::Action;
using router::kNever;
using router::RouterCore;
using router::RouterStats;

struct Simulation::Event {
  enum class Kind : uint8_t {
    kArrive,
    kStep,
    kSubmit,
    kCancel,
    kFirstToken,
    kFinished,
    kBroke,
    kKv,
    kLoads,
    kWake,
    kKill,
    kRevive,
    kUnhealthy,
    kSlow,
    kRestart,
  };
  Seconds at = 0;
  Kind kind = Kind::kWake;
  size_t node = 0;  // or the index of the request that arrives
  RequestId request = 0;
  Attempt attempt = 0;
  uint32_t life = 0;  // of the router that it concerns
  uint32_t tokens = 0;
  uint64_t number = 0;  // orders what happens at one moment
  std::shared_ptr<std::vector<KvEvent>> told;
};

bool Simulation::Later::operator()(const Event& a, const Event& b) const {
  return a.at != b.at ? a.at > b.at : a.number > b.number;
}

Simulation::Simulation(const SimOptions& options, const Workload& workload)
    : options_(options),
      workload_(workload),
      nodes_(static_cast<size_t>(options.replicas)),
      clients_(workload.requests.size()),
      random_(hash_combine(options.seed, 77)) {}

Simulation::~Simulation() = default;

void Simulation::post(Event event) {
  event.number = ++numbers_;
  events_.push(std::move(event));
}

void Simulation::start_router() {
  if (core_ != nullptr) {
    const RouterStats& s = core_->stats();
    past_.retries += s.retries;
    past_.hedges += s.hedges;
    past_.repairs += s.repairs;
    past_.decisions += s.decisions;
    past_.regret_seconds += s.regret_seconds;
  }
  ++router_life_;
  core_ = std::make_unique<RouterCore>(options_.core);
  wakeup_ = kNever;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    router::ReplicaSpec spec{.name = "replica-" + std::to_string(i),
                             .streams_events = !options_.faults.no_events,
                             .block_tokens = options_.model.block_tokens,
                             .kv_tokens = options_.model.kv_tokens,
                             .max_running = static_cast<int>(options_.model.max_running) * 4};
    nodes_[i].id = core_->add_replica(spec, now_);
    if (!nodes_[i].up) continue;
    core_->health_checked(nodes_[i].id, true, now_);
    tell(i, nodes_[i].replica->snapshot(), true);
  }
}

void Simulation::start_node(size_t index) {
  ReplicaModel model = options_.model;
  if (index < options_.speeds.size()) {
    model.prefill_tokens_per_second *= options_.speeds[index];
    model.step_seconds /= options_.speeds[index];
    model.step_per_running /= options_.speeds[index];
  }
  nodes_[index].replica = std::make_unique<SimReplica>(model, ++epochs_);
  nodes_[index].up = true;
}

void Simulation::stop_node(size_t index) {
  Node& node = nodes_[index];
  node.up = false;
  node.scheduled = 0;
  node.admitted += node.replica->admitted_tokens();
  node.cached += node.replica->cached_tokens();
  node.busy += node.replica->busy_seconds();
  for (const auto& [request, attempt] : node.replica->all()) {
    post({.at = now_,
          .kind = Event::Kind::kBroke,
          .request = request,
          .attempt = attempt,
          .life = router_life_});
  }
  core_->kv_stream_broke(node.id, now_);
}

// Over the event stream: in order, late, and now and then not at all.
void Simulation::tell(size_t index, std::vector<KvEvent> events, bool whole) {
  if (options_.faults.no_events || events.empty()) return;
  if (!whole && options_.faults.event_loss > 0) {
    std::erase_if(events, [&](const KvEvent&) {
      random_ = hash_combine(random_, 3);
      return static_cast<double>(random_ >> 11) / 9007199254740992.0 < options_.faults.event_loss;
    });
  }
  Node& node = nodes_[index];
  node.line_free = std::max(node.line_free, now_ + options_.faults.event_delay);
  post({.at = node.line_free,
        .kind = Event::Kind::kKv,
        .node = index,
        .life = router_life_,
        .told = std::make_shared<std::vector<KvEvent>>(std::move(events))});
}

void Simulation::schedule_step(size_t index) {
  Node& node = nodes_[index];
  const Seconds end = node.replica->next_end();
  if (end == kNever) return;
  post({.at = std::max(end, now_), .kind = Event::Kind::kStep, .node = index});
  node.scheduled = numbers_;
}

size_t Simulation::node_of(router::ReplicaId id) const {
  const auto at = std::ranges::find(nodes_, id, &Node::id);
  SLUICE_CHECK(at != nodes_.end());
  return static_cast<size_t>(at - nodes_.begin());
}

void Simulation::arrive(size_t index) {
  const SimRequest& request = workload_.requests[index];
  router::RequestSketch sketch{.id = index + 1, .model = "model", .tenant = request.tenant};
  sketch.prompt = {.kind = router::PromptChain::Kind::kBlocks,
                   .unit = workload_.block_tokens,
                   .size = request.prompt.prompt_tokens,
                   .hashes = *request.prompt.blocks};
  sketch.session_key = request.session_key;
  sketch.prompt_tokens = request.prompt.prompt_tokens;
  sketch.hedgeable = true;
  core_->arrive(std::move(sketch), now_);
}

// Does what the core wants done.
void Simulation::act() {
  core_->take_actions(actions_);
  for (const Action& action : actions_) {
    Client* client = action.request == 0 ? nullptr : &clients_[action.request - 1];
    const auto later = [&](Event::Kind kind) {
      post({.at = now_ + options_.network_delay,
            .kind = kind,
            .node = node_of(action.replica),
            .request = action.request,
            .attempt = action.attempt,
            .life = router_life_});
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
        break;
      case Action::Kind::kReject:
      case Action::Kind::kFail:
        client->lost = client->ended = true;
        ++ended_;
        break;
      case Action::Kind::kSnapshot: {
        const size_t node = node_of(action.replica);
        if (nodes_[node].up) tell(node, nodes_[node].replica->snapshot(), true);
        break;
      }
      case Action::Kind::kHold:
        break;
    }
  }
  const Seconds next = core_->next_wakeup();
  if (next < wakeup_) {
    wakeup_ = next;
    post({.at = std::max(next, now_), .kind = Event::Kind::kWake, .life = router_life_});
  }
}

void Simulation::handle(const Event& event) {
  using Kind = Event::Kind;
  const bool stale = event.life != 0 && event.life != router_life_;
  Node* node = event.node < nodes_.size() ? &nodes_[event.node] : nullptr;
  switch (event.kind) {
    case Kind::kArrive:
      arrive(event.node);
      break;
    case Kind::kStep: {
      if (!node->up || node->scheduled != event.number) return;
      StepOutcome outcome;
      node->replica->step_end(outcome);
      tell(event.node, std::move(outcome.events), false);
      for (const auto& one : outcome.first_tokens) {
        post({.at = now_ + options_.network_delay,
              .kind = Kind::kFirstToken,
              .request = one.request,
              .attempt = one.attempt,
              .life = router_life_});
      }
      for (const auto& one : outcome.finished) {
        post({.at = now_ + options_.network_delay,
              .kind = Kind::kFinished,
              .request = one.request,
              .attempt = one.attempt,
              .life = router_life_,
              .tokens = one.output_tokens});
      }
      schedule_step(event.node);
      return;
    }
    case Kind::kSubmit:
      if (stale) return;
      if (!node->up) {
        core_->broke(event.request, event.attempt, now_);
        break;
      }
      node->replica->submit(event.request, event.attempt, workload_.requests[event.request - 1].prompt, now_);
      schedule_step(event.node);
      return;
    case Kind::kCancel:
      if (stale || !node->up) return;
      node->replica->cancel(event.request, event.attempt, now_);
      schedule_step(event.node);
      return;
    case Kind::kFirstToken:
      if (stale) return;
      core_->answered(event.request, event.attempt, 200, 0, now_);
      core_->first_byte(event.request, event.attempt, now_);
      break;
    case Kind::kFinished: {
      if (stale) return;
      Client& client = clients_[event.request - 1];
      core_->ended(event.request, event.attempt, event.tokens, now_);
      if (client.ended || client.relayed != event.attempt) break;
      client.ended = true;
      client.end = now_;
      ++ended_;
      break;
    }
    case Kind::kBroke:
      if (stale) return;
      core_->broke(event.request, event.attempt, now_);
      break;
    case Kind::kKv:
      if (stale) return;
      for (const KvEvent& told : *event.told) core_->kv_event(node->id, told, now_);
      break;
    case Kind::kLoads:
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (nodes_[i].up) tell(i, {nodes_[i].replica->load()}, false);
      }
      if (ended_ < clients_.size()) post({.at = now_ + 0.2, .kind = Kind::kLoads});
      return;
    case Kind::kWake:
      if (stale) return;
      wakeup_ = kNever;
      core_->advance(now_);
      break;
    case Kind::kKill:
      stop_node(event.node);
      post({.at = now_ + 2, .kind = Kind::kUnhealthy, .node = event.node, .life = router_life_});
      post({.at = now_ + options_.faults.down_seconds, .kind = Kind::kRevive, .node = event.node});
      break;
    case Kind::kUnhealthy:
      for (int i = 0; i < 3; ++i) core_->health_checked(node->id, false, now_);
      break;
    case Kind::kRevive:
      start_node(event.node);
      for (int i = 0; i < 2; ++i) core_->health_checked(node->id, true, now_);
      tell(event.node, node->replica->snapshot(), true);
      break;
    case Kind::kSlow:
      node->replica->set_slowdown(3);
      return;
    case Kind::kRestart: {
      // Its connections break: replicas drop the work, clients without an answer send again.
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (!nodes_[i].up) continue;
        for (const auto& [request, attempt] : nodes_[i].replica->all()) {
          nodes_[i].replica->cancel(request, attempt, now_);
        }
        schedule_step(i);
      }
      start_router();
      for (size_t i = 0; i < clients_.size(); ++i) {
        Client& client = clients_[i];
        if (client.ended || workload_.requests[i].at > now_) continue;
        if (client.relayed == 0) {
          post({.at = now_ + 0.5, .kind = Kind::kArrive, .node = i});
        } else {
          client.lost = client.ended = true;
          ++ended_;
        }
      }
      break;
    }
  }
  act();
}

SimReport Simulation::run() {
  for (size_t i = 0; i < nodes_.size(); ++i) start_node(i);
  start_router();
  act();
  for (size_t i = 0; i < workload_.requests.size(); ++i) {
    clients_[i].at = workload_.requests[i].at;
    post({.at = clients_[i].at, .kind = Event::Kind::kArrive, .node = i});
  }
  post({.at = 0.2, .kind = Event::Kind::kLoads});
  const Faults& faults = options_.faults;
  if (faults.kill_at >= 0) post({.at = faults.kill_at, .kind = Event::Kind::kKill, .node = 0});
  if (faults.slow_at >= 0 && nodes_.size() > 1)
    post({.at = faults.slow_at, .kind = Event::Kind::kSlow, .node = 1});
  if (faults.router_restart_at >= 0) post({.at = faults.router_restart_at, .kind = Event::Kind::kRestart});
  while (!events_.empty() && ended_ < clients_.size()) {
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    handle(event);
  }
  return report();
}

namespace {

double jain(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  return squares > 0 ? sum * sum / (static_cast<double>(values.size()) * squares) : 1;
}

}  // namespace

SimReport Simulation::report() const {
  SimReport report{.requests = clients_.size()};
  std::vector<double> ttft, busy;
  std::map<std::string, std::pair<double, double>> tenants;
  double e2e = 0, ended = 0, admitted = 0, cached = 0;
  for (size_t i = 0; i < clients_.size(); ++i) {
    const Client& client = clients_[i];
    report.lost += client.lost ? 1 : 0;
    if (client.first_token == kNever) continue;
    ttft.push_back(client.first_token - client.at);
    auto& [sum, count] = tenants[workload_.requests[i].tenant];
    sum += ttft.back();
    ++count;
    if (client.lost) continue;
    e2e += client.end - client.at;
    ++ended;
  }
  std::ranges::sort(ttft);
  const auto quantile = [&](double q) {
    return ttft.empty() ? 0 : ttft[static_cast<size_t>(q * static_cast<double>(ttft.size() - 1))];
  };
  for (const double value : ttft) report.ttft_mean += value / static_cast<double>(ttft.size());
  report.ttft_p50 = quantile(0.5);
  report.ttft_p99 = quantile(0.99);
  report.e2e_mean = ended > 0 ? e2e / ended : 0;
  for (const Node& node : nodes_) {
    const SimReplica* replica = node.up ? node.replica.get() : nullptr;
    admitted += static_cast<double>(node.admitted + (replica != nullptr ? replica->admitted_tokens() : 0));
    cached += static_cast<double>(node.cached + (replica != nullptr ? replica->cached_tokens() : 0));
    busy.push_back(node.busy + (replica != nullptr ? replica->busy_seconds() : 0));
  }
  report.hit_rate = admitted > 0 ? cached / admitted : 0;
  report.balance = jain(busy);
  std::vector<double> means;
  for (const auto& [tenant, sum] : tenants) means.push_back(sum.first / sum.second);
  report.tenant_fairness = jain(means);
  const RouterStats& stats = core_->stats();
  const auto decisions = static_cast<double>(stats.decisions + past_.decisions);
  report.regret_mean = decisions > 0 ? (stats.regret_seconds + past_.regret_seconds) / decisions : 0;
  report.retries = stats.retries + past_.retries;
  report.hedges = stats.hedges + past_.hedges;
  report.repairs = stats.repairs + past_.repairs;
  return report;
}

}  // namespace sluice::router_sim
