#include "router/io/replica_link.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/block_hash.h"
#include "base/log.h"
#include "server/wire/json_text.h"
#include "server/wire/json_walk.h"

namespace sluice::router {
namespace {

// The first that is there tells whether it can work; the last answers everywhere.
constexpr const char* kHealthPaths[] = {"/ready", "/health", "/v1/models"};
constexpr size_t kMaxModelsBytes = size_t{4} << 20;
constexpr size_t kMaxMetricsBytes = size_t{16} << 20;
constexpr size_t kMaxModels = 1024;
constexpr size_t kMaxModelName = 256;
constexpr Seconds kHelloPatience = 3;
constexpr Seconds kSilence = 15;  // heartbeats come every five seconds
constexpr Seconds kFirstBackoff = 0.1, kLongestBackoff = 5;

// The value of `label` in the sample line that begins with `series`: name{…label="value"…}.
uint64_t label_number(std::string_view text, std::string_view series, std::string_view label) {
  size_t at = 0;
  while ((at = text.find(series, at)) != std::string_view::npos) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    at += series.size();
    const std::string key = std::string(label) + "=\"";
    const size_t found = line.find(key);
    if (found == std::string_view::npos) continue;
    uint64_t value = 0;
    const std::string_view digits = line.substr(found + key.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (value > 0) return value;
  }
  return 0;
}

// Of our own server's /ready: {"error":{…},"loading":0.37}.
std::optional<double> loading_of(std::string_view body) {
  JsonWalk walk(body);
  std::string_view name, value;
  if (!walk.enter_object()) return std::nullopt;
  while (walk.member(name, value)) {
    if (name != "loading") continue;
    double fraction = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), fraction);
    if (error == std::errc() && fraction >= 0 && fraction <= 1) return fraction;
  }
  return std::nullopt;
}

UpstreamOptions upstream_options(const LinkOptions& options, const FoundReplica& found) {
  UpstreamOptions upstream = options.upstream;
  if (upstream.server_name.empty()) upstream.server_name = found.server_name;
  return upstream;
}

}  // namespace

// One connection to /kv_events.
class ReplicaLink::EventStream final : public UpstreamSink, public KvListener {
 public:
  EventStream(ReplicaLink& link, std::optional<KvPlace> place) : link_(link), lines_(*this) {
    std::string target = "/kv_events";
    if (place) {
      char hex[17];
      std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(place->epoch));
      target += "?from=" + std::to_string(place->sequence) + "&epoch=" + hex;
    }
    call_ = link_.upstream_.send(
        {question_head(link_.upstream_.url(), target, link_.options_.api_key), nullptr}, *this);
  }

 private:
  void on_head(int status, HeaderList&) override {
    status_ = status;
    if (status == 200) return;
    LinkOwner& owner = link_.owner_;
    link_.events_opened(status == 429 || status == 503, "status " + std::to_string(status));
    owner.settle();
  }
  void on_piece(std::string_view bytes) override {
    if (status_ != 200) return;
    link_.last_event_at_ = link_.owner_.now();
    link_.events_until_ = link_.last_event_at_ + kSilence;
    const KvLines::State state = lines_.take(bytes);
    // From here on the stream may be gone.
    LinkOwner& owner = link_.owner_;
    if (state != KvLines::State::kReading) {
      link_.events_broke(state == KvLines::State::kClosing, std::string(lines_.fault()));
    }
    owner.settle();
  }
  void on_end() override { over("it ended"); }
  void on_fault(std::string_view what) override { over(what); }
  void over(std::string_view why) {
    LinkOwner& owner = link_.owner_;
    const std::string text(why);
    link_.events_broke(false, text);
    owner.settle();
  }

  void on_hello(const KvHello& hello) override { link_.hello(hello); }
  void on_event(KvEvent& event, std::string_view request) override {
    if (link_.id_ == kNoReplica) return;
    if (!request.empty()) event.request = link_.owner_.request_of(request);
    link_.owner_.core().kv_event(link_.id_, event, link_.owner_.now());
  }

  ReplicaLink& link_;
  KvLines lines_;
  std::unique_ptr<UpstreamCall> call_;
  int status_ = 0;
};

ReplicaLink::ReplicaLink(LinkOwner& owner, FoundReplica found, const LinkOptions& options)
    : owner_(owner),
      found_(std::move(found)),
      options_(options),
      upstream_(owner.io(), parse_url(found_.url).value(), upstream_options(options, found_)) {
  authority_ = upstream_.url().authority();
  base_path_ = upstream_.url().target.substr(0, upstream_.url().target.find('?'));
  while (base_path_.ends_with('/')) base_path_.pop_back();
}

ReplicaLink::~ReplicaLink() {
  part();
}

Destination ReplicaLink::destination() const {
  Destination destination{authority_, base_path_};
  if (options_.replaces_keys) destination.key = options_.api_key;
  return destination;
}

void ReplicaLink::change(FoundReplica found) {
  const bool rejoin = found.models != found_.models || found.max_running != found_.max_running;
  if (found_.pending && !found.pending) next_check_ = 0;
  found_ = std::move(found);
  if (id_ == kNoReplica) return;
  if (rejoin) return part();
  owner_.core().set_weight(id_, found_.weight);
  if (found_.draining)
    owner_.core().drain_replica(id_, owner_.now());
  else
    owner_.core().restore_replica(id_, owner_.now());
  owner_.settle();
}

// --- health ---

void ReplicaLink::tick(Seconds now) {
  if (fetch_ != nullptr && now >= fetch_until_) {
    fetch_.reset();
    trouble_ = "it did not answer in time";
    asking_ = false;
    health_answered({0, trouble_});
  }
  if (events_ != nullptr && now >= events_until_) {
    if (knows_events_)
      events_broke(false, "it was silent");
    else
      events_opened(false, "it said nothing");
  }
  if (events_ == nullptr && now >= events_again_ && id_ != kNoReplica) open_events();
  if (fetch_ == nullptr && !asking_ && now >= next_check_) check_health(now);
}

void ReplicaLink::ask(const std::string& target, size_t max_bytes, std::function<void(Fetch::Answer)> done) {
  fetch_until_ = owner_.now() + options_.health_timeout;
  fetch_ = std::make_unique<Fetch>(upstream_, target, options_.api_key, max_bytes,
                                   [this, done = std::move(done)](Fetch::Answer answer) {
                                     const std::unique_ptr<Fetch> over = std::move(fetch_);
                                     done(std::move(answer));
                                     owner_.settle();
                                   });
}

void ReplicaLink::check_health(Seconds now) {
  // Not all replicas in the same moment.
  const double spread = static_cast<double>(hash_bytes(found_.name.data(), found_.name.size()) % 64) / 320;
  next_check_ = now + options_.health_interval * (0.9 + spread);
  ask(kHealthPaths[health_path_], kMaxModelsBytes,
      [this](const Fetch::Answer& answer) { health_answered(answer); });
}

void ReplicaLink::health_answered(const Fetch::Answer& answer) {
  if ((answer.status == 404 || answer.status == 405) && health_path_ + 1 < std::size(kHealthPaths)) {
    ++health_path_;
    next_check_ = 0;
    return;
  }
  checked_well_ = answer.status >= 200 && answer.status < 300;
  loading_ = answer.status == 503 ? loading_of(answer.body) : std::nullopt;
  if (!checked_well_) {
    trouble_ = answer.status == 0 ? answer.body : "its status was " + std::to_string(answer.status);
  }
  if (id_ != kNoReplica) {
    owner_.core().health_checked(id_, checked_well_, owner_.now());
    return owner_.settle();
  }
  if (!checked_well_ || found_.pending) return;
  asking_ = true;
  ask_models();
}

// --- what it is ---

void ReplicaLink::ask_models() {
  ask("/v1/models", kMaxModelsBytes, [this](const Fetch::Answer& answer) {
    const bool known = answer.status == 200 && take_models(answer.body);
    if (!known && found_.models.empty()) {
      trouble_ = answer.status == 200 ? "its /v1/models is not a list of models"
                                      : "its /v1/models has the status " + std::to_string(answer.status);
      asking_ = false;
      return;
    }
    ask_metrics();
  });
}

bool ReplicaLink::take_models(const std::string& body) {
  const auto checked = JsonText::check(body, 64);
  if (!checked.ok() || checked->kind() != JsonText::Kind::kObject) return false;
  const auto members = checked->members(64);
  if (!members.ok()) return false;
  std::vector<ServedModel> models;
  bool is_list = false;
  for (const auto& [name, value] : *members) {
    if (name != "data" || value.kind() != JsonText::Kind::kArray) continue;
    is_list = true;
    value.for_each([&](JsonText card) {
      if (card.kind() != JsonText::Kind::kObject) return true;
      const auto fields = card.members(256);
      if (!fields.ok()) return true;
      for (const auto& [field, id] : *fields) {
        if (field != "id" || id.kind() != JsonText::Kind::kString) continue;
        std::string text = id.string();
        if (text.size() <= kMaxModelName) models.push_back({std::move(text), std::string(card.text())});
      }
      return models.size() < kMaxModels;
    });
  }
  if (is_list) models_ = std::move(models);
  return is_list && !models_.empty();
}

void ReplicaLink::ask_metrics() {
  ask("/metrics", kMaxMetricsBytes, [this](const Fetch::Answer& answer) {
    if (answer.status == 200) take_metrics(answer.body);
    open_events();
  });
}

// As vLLM names them, and we.
void ReplicaLink::take_metrics(const std::string& text) {
  const uint64_t blocks = label_number(text, "vllm:cache_config_info{", "num_gpu_blocks");
  const uint64_t tokens = label_number(text, "vllm:cache_config_info{", "block_size");
  if (tokens > 0 && tokens <= 4096) block_tokens_ = static_cast<uint32_t>(tokens);
  if (blocks > 0 && blocks < (1ULL << 32)) kv_tokens_ = blocks * block_tokens_;
}

// --- its events ---

void ReplicaLink::open_events() {
  events_again_ = kNever;
  events_until_ = owner_.now() + kHelloPatience;
  events_ =
      std::make_unique<EventStream>(*this, id_ == kNoReplica ? std::nullopt : owner_.core().kv_place(id_));
}

// The answer's head said no.
void ReplicaLink::events_opened(bool are_told, std::string_view why) {
  if (knows_events_ && streams_events_) return events_broke(false, std::string(why));
  knows_events_ = true;
  streams_events_ = are_told;
  events_.reset();
  if (are_told) events_broke(false, std::string(why));
  if (!are_told)
    log::info("replica {}: no /kv_events ({}); what we sent there is all we know", found_.name, why);
  join();
}

void ReplicaLink::hello(const KvHello& hello) {
  backoff_ = 0;
  if (hello.hash != kBlockHashName) {
    log::warn("replica {}: its block hash is {}, ours is {}; its events are of no use", found_.name,
              log::safe(hello.hash), kBlockHashName);
  }
  if (id_ != kNoReplica && epoch_ != 0 && hello.epoch != epoch_) {
    // Another process: nothing of what we know of the former holds.
    owner_.core().remove_replica(id_, owner_.now());
    owner_.parted(std::exchange(id_, kNoReplica));
  }
  epoch_ = hello.epoch;
  if (hello.block_tokens > 0 && hello.block_tokens <= 4096) block_tokens_ = hello.block_tokens;
  runs_at_once_ = static_cast<int>(std::min(hello.max_num_seqs, 1'000'000U));
  knows_events_ = true;
  streams_events_ = hello.hash == kBlockHashName;
  if (id_ == kNoReplica) join();
}

void ReplicaLink::events_broke(bool closing, std::string_view why) {
  if (events_ != nullptr && id_ != kNoReplica) {
    log::info("replica {}: its events broke off: {}", found_.name, log::safe(why));
  }
  events_.reset();
  if (id_ != kNoReplica) owner_.core().kv_stream_broke(id_, owner_.now());
  if (closing) {
    log::info("replica {}: it stops", found_.name);
    return part();
  }
  if (!knows_events_) return events_opened(false, why);
  backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
  events_again_ = owner_.now() + backoff_;
}

void ReplicaLink::renew_events() {
  events_.reset();
  events_again_ = owner_.now() + kFirstBackoff;
}

// --- in and out ---

void ReplicaLink::join() {
  asking_ = false;
  ReplicaSpec spec;
  spec.name = found_.name;
  spec.url = found_.url;
  spec.models = found_.models;
  if (spec.models.empty()) {
    for (const ServedModel& model : models_) spec.models.push_back(model.id);
  }
  spec.weight = found_.weight;
  spec.max_running = found_.max_running > 0 ? found_.max_running : options_.max_running;
  spec.runs_at_once = runs_at_once_;
  spec.streams_events = streams_events_;
  spec.block_tokens = block_tokens_;
  if (kv_tokens_ > 0) spec.kv_tokens = kv_tokens_;
  const Seconds now = owner_.now();
  id_ = owner_.core().add_replica(std::move(spec), now);
  if (id_ == kNoReplica) {
    trouble_ = "the fleet has all the replicas it can hold";
    return;
  }
  owner_.joined(*this);
  owner_.core().health_checked(id_, true, now);
  if (found_.draining) owner_.core().drain_replica(id_, now);
  log::info("replica {}: joined, {}", found_.name,
            streams_events_ ? "its events are told" : "without events");
}

void ReplicaLink::part() {
  asking_ = false;
  fetch_.reset();
  events_.reset();
  events_again_ = events_until_ = kNever;
  epoch_ = 0;
  knows_events_ = streams_events_ = false;
  health_path_ = 0;
  next_check_ = owner_.now() + options_.health_interval;
  if (id_ == kNoReplica) return;
  const ReplicaId id = std::exchange(id_, kNoReplica);
  owner_.core().remove_replica(id, owner_.now());
  owner_.parted(id);
}

}  // namespace sluice::router
