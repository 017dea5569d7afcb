#include "router/io/dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "base/hash.h"
#include "base/log.h"
#include "router/io/clock.h"

namespace sluice::router {
namespace {

constexpr std::chrono::milliseconds kTick{20};
constexpr Seconds kJourneyTick = 0.25;
constexpr size_t kMaxResponses = 100'000;
constexpr std::ptrdiff_t kMaxPendingLinks = 8;

}  // namespace

Dispatcher::Dispatcher(IoThread& io, const DispatcherOptions& options, AccessLog& access_log)
    : io_(io), options_(options), access_log_(access_log), core_(options.core), demand_(options.demand) {
  std::random_device device;
  random_ = (uint64_t{device()} << 32) | device();
  if (!options_.demand.models.empty()) last_model_ = options_.demand.models.front();
  name_ = fmt::format("{:016x}", random());
}

Dispatcher::~Dispatcher() {
  *alive_ = false;
  errands_.clear();
  mirrors_.clear();
  dropped_.clear();
  links_.clear();
}

Seconds Dispatcher::now() const {
  return monotonic_now();
}

uint64_t Dispatcher::random() {
  return random_ = hash_combine(random_, 0x9e3779b97f4a7c15ULL);
}

Status Dispatcher::start(std::vector<std::unique_ptr<Discovery>> sources,
                         std::vector<std::unique_ptr<Errand>> errands) {
  sources_ = std::move(sources);
  errands_ = std::move(errands);
  for (const auto& source : sources_) {
    if (Status started = source->start(*this); !started.ok()) return started;
  }
  tick();
  return {};
}

void Dispatcher::refresh_sources() {
  for (const auto& source : sources_) source->refresh();
  settle();
}

// --- time ---

void Dispatcher::tick() {
  const Seconds at = now();
  for (const auto& source : sources_) source->tick();
  for (const auto& [name, link] : links_) link->tick(at);
  core_.advance(at);
  settle();
  if (at >= journeys_ticked_ + kJourneyTick) {
    journeys_ticked_ = at;
    sick_.clear();
    for (const auto& replica : core_.fleet().replicas()) {
      if (replica->state == ReplicaState::kUnhealthy) sick_.insert(replica->id);
    }
    for (const auto& [id, journey] : journeys_) journey->tick(at);
    for (const auto& errand : errands_) errand->tick(at);
    dropped_.clear();
    access_log_.flush();
  }
  if (demand_.is_due(core_, at)) look_at_demand(at);
  io_.run_after(kTick, [this, alive = alive_] {
    if (*alive) tick();
  });
}

void Dispatcher::look_at_demand(Seconds at) {
  std::map<std::string, Seconds> oldest;
  for (const auto& [id, journey] : journeys_) {
    if (!journey->is_held()) continue;
    const auto [since, is_new] = oldest.try_emplace(journey->model(), journey->arrived());
    since->second = std::min(since->second, journey->arrived());
  }
  demand_.make(core_, oldest, at);
  Seconds first = kNever;
  for (const auto& [model, told] : demand_.models())
    first = std::min(first, demand_.next_ready_in(model, at));
  core_.expect_replica(first < kNever ? at + first : kNever);
}

// --- actions ---

void Dispatcher::settle() {
  if (settling_) return;
  settling_ = true;
  for (;;) {
    core_.take_actions(actions_);
    if (actions_.empty()) break;
    for (const Action& action : actions_) perform(action);
  }
  settling_ = false;
}

void Dispatcher::perform(const Action& action) {
  using Kind = Action::Kind;
  if (action.kind == Kind::kSnapshot) {
    if (ReplicaLink* link = link_of(action.replica)) link->renew_events();
    return;
  }
  const auto at = journeys_.find(action.request);
  if (at == journeys_.end()) return;
  Journey& journey = *at->second;
  switch (action.kind) {
    case Kind::kDispatch:
      return journey.dispatch(action);
    case Kind::kRelay:
      return journey.relay(action.attempt);
    case Kind::kCancel:
      return journey.cancel(action.attempt);
    case Kind::kHold:
      return journey.hold();
    case Kind::kReject:
      return journey.reject(action);
    case Kind::kFail:
      return journey.fail(action.message);
    case Kind::kSnapshot:
      return;
  }
}

// --- requests ---

RequestId Dispatcher::enter(Journey& journey) {
  const RequestId id = ++last_id_;
  journeys_.emplace(id, &journey);
  Named& named = names_[journey.request().request_id];
  named.id = named.live++ == 0 ? id : 0;
  return id;
}

void Dispatcher::leave(const Journey& journey) {
  if (journeys_.erase(journey.id()) == 0) return;
  const auto name = names_.find(journey.request().request_id);
  if (--name->second.live == 0) names_.erase(name);
}

void Dispatcher::shadow(const Relay& relay) {
  const auto at = options_.shadows.find(relay.model());
  if (at == options_.shadows.end() || relay.id() == 0) return;
  const Relay::Content& content = relay.content();
  // What goes on from a stored answer can only go on where that is.
  if (content.body == nullptr || !content.scan.previous_response.empty()) return;
  const auto& [model, traffic] = *at;
  if (static_cast<double>(random() >> 11) >= traffic.share * 9007199254740992.0) return;
  if (mirrors_.size() >= options_.max_shadow_requests || !has_ready(traffic.target)) {
    ++counters_.shadows[{model, traffic.target}].requests["dropped"];
    return;
  }
  auto mirror = std::make_unique<Mirror>(
      *this, Mirror::Copy{relay.request(), content.body, content.scan, relay.model(), traffic.target});
  Mirror& begun = *mirror;
  mirrors_.emplace(&begun, std::move(mirror));
  begun.start();
}

void Dispatcher::drop(const Mirror& mirror) {
  const auto at = mirrors_.find(&mirror);
  dropped_.push_back(std::move(at->second));
  mirrors_.erase(at);
}

RequestId Dispatcher::request_of(std::string_view request_name) const {
  const auto at = names_.find(request_name);
  return at == names_.end() ? 0 : at->second.id;
}

void Dispatcher::remember_response(std::string_view response, ReplicaId replica) {
  if (!homes_.insert_or_assign(std::string(response), replica).second) return;
  homes_by_age_.emplace_back(response);
  if (homes_by_age_.size() <= kMaxResponses) return;
  homes_.erase(homes_by_age_.front());
  homes_by_age_.pop_front();
}

ReplicaId Dispatcher::home_of(std::string_view response) const {
  const auto at = homes_.find(response);
  return at == homes_.end() ? kNoReplica : at->second;
}

uint64_t Dispatcher::held_now() const {
  uint64_t held = 0;
  for (const auto& [id, journey] : journeys_) held += journey->is_held() ? 1 : 0;
  return held;
}

// --- replicas ---

ReplicaLink* Dispatcher::link_of(ReplicaId id) {
  const auto at = joined_.find(id);
  return at == joined_.end() ? nullptr : at->second;
}

std::string Dispatcher::name_of(ReplicaId id) const {
  const auto at = joined_.find(id);
  return at == joined_.end() ? "gone" : at->second->found().name;
}

void Dispatcher::joined(ReplicaLink& link) {
  joined_[link.id()] = &link;
  if (const Replica* replica = core_.fleet().find(link.id()); !replica->spec.models.empty())
    last_model_ = replica->spec.models.front();
  if (link.is_ours()) block_tokens_ = link.block_tokens();
}

void Dispatcher::parted(ReplicaId id) {
  joined_.erase(id);
}

void Dispatcher::found(const FoundReplica& replica) {
  if (!links_.contains(replica.name)) demand_.coming(replica.name, replica.models, replica.pending, now());
  // Of those on their way some are asked how far they are; the others are asked when they are there.
  if (replica.pending && !links_.contains(replica.name)) {
    const auto pending =
        std::ranges::count_if(links_, [](const auto& each) { return each.second->found().pending; });
    if (pending >= kMaxPendingLinks) return;
  }
  const auto at = links_.find(replica.name);
  const auto same_line = [&](const FoundReplica& known) {
    return known.url == replica.url && known.server_name == replica.server_name;
  };
  if (at != links_.end() && same_line(at->second->found())) return at->second->change(replica);
  if (at != links_.end()) links_.erase(at);  // another address is another line
  // While those who leave are still there, their successors come: hence twice.
  if (links_.size() >= 2 * options_.core.fleet.max_replicas) {
    return log::warn("replica {}: passed over, there are {} already; raise --max-replicas",
                     log::safe(replica.name), links_.size());
  }
  log::info("replica {}: found at {}", log::safe(replica.name), log::safe(replica.url));
  links_.emplace(replica.name, std::make_unique<ReplicaLink>(*this, replica, options_.link));
}

void Dispatcher::lost(std::string_view name) {
  demand_.gone(std::string(name));
  const auto at = links_.find(name);
  if (at == links_.end()) return;
  log::info("replica {}: left", log::safe(name));
  links_.erase(at);
}

size_t Dispatcher::ready_replicas() const {
  return static_cast<size_t>(std::ranges::count_if(
      core_.fleet().replicas(), [](const auto& replica) { return replica->state == ReplicaState::kReady; }));
}

// A model may yet come as long as a replica has not said what it serves, and where there is none at all.
std::string Dispatcher::unknown_model(const std::string& model) const {
  if (model.empty() || links_.empty()) return {};
  for (const auto& [name, link] : links_) {
    if (link->id() == kNoReplica && link->models().empty()) return {};
  }
  for (const auto& replica : core_.fleet().replicas()) {
    const auto& models = replica->spec.models;
    if (models.empty() || std::ranges::find(models, model) != models.end()) return {};
  }
  for (const auto& [name, link] : links_) {
    const auto& given = link->found().models;
    if (std::ranges::find(given, model) != given.end()) return {};
    for (const ServedModel& served : link->models()) {
      if (served.id == model) return {};
    }
  }
  return "The model '" + log::safe(model) + "' is served by no replica; GET /v1/models lists those that are.";
}

RequestSketch Dispatcher::sketch_of(const HttpRequest& request, const BodyScan& scan, Seconds now,
                                    std::string_view model) const {
  return make_sketch({.request = request,
                      .scan = scan,
                      .default_model = default_model(),
                      .model = model,
                      .block_tokens = block_tokens_,
                      .has_ready = [this](const std::string& model) { return has_ready(model); }},
                     options_.sketch, now);
}

bool Dispatcher::has_ready(const std::string& model) const {
  return std::ranges::any_of(core_.fleet().replicas(), [&](const auto& replica) {
    const auto& models = replica->spec.models;
    return replica->state == ReplicaState::kReady &&
           (models.empty() || std::ranges::find(models, model) != models.end());
  });
}

std::string Dispatcher::default_model() const {
  for (const auto& replica : core_.fleet().replicas()) {
    if (!replica->spec.models.empty()) return replica->spec.models.front();
  }
  return last_model_;
}

std::string Dispatcher::waiting_words(const std::string& model) const {
  std::string words = "waiting for a replica";
  const auto told = demand_.models().find(model);
  const int coming = told == demand_.models().end() ? 0 : told->second.load.loading;
  if (has_ready(model) || coming == 0) return words;
  words +=
      fmt::format("; {} {} on {} way", coming, coming == 1 ? "is" : "are", coming == 1 ? "its" : "their");
  double loaded = -1;
  for (const auto& [name, link] : links_) loaded = std::max(loaded, link->loading().value_or(-1));
  if (loaded >= 0) words += fmt::format(", the model is loaded to {:.0f}%", 100 * loaded);
  const Seconds next = demand_.next_ready_in(model, now());
  if (next < kNever) words += fmt::format(", usually there in {:.0f} s", std::max(next, 1.0));
  return words;
}

}  // namespace sluice::router
