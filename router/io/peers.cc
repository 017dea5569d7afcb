#include "router/io/peers.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "router/io/clock.h"
#include "router/io/demand_board.h"
#include "router/io/fetch.h"
#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

using Json = nlohmann::json;

constexpr Seconds kInterval = 1, kPatience = 2;
constexpr Seconds kSelfInterval = 30;  // an address that is ours may become somebody else's
constexpr size_t kMaxBytes = size_t{4} << 20;
constexpr size_t kMaxModels = 1000;
constexpr size_t kMaxPeers = 64;
constexpr double kMost = 1e12;

// The members of a share, once for both ways.
constexpr std::pair<const char*, double Load::*> kMembers[] = {{"in_flight", &Load::in_flight},
                                                               {"queued", &Load::queued},
                                                               {"uncomputed", &Load::uncomputed},
                                                               {"offered", &Load::offered},
                                                               {"ttft_p90", &Load::ttft_p90},
                                                               {"itl_p90", &Load::itl_p90},
                                                               {"knee", &Load::knee},
                                                               {"queue_seconds", &Load::backlog_seconds}};

class Peers final : public Errand, public DiscoverySink {
 public:
  Peers(IoThread& io, DemandBoard& board, std::vector<std::unique_ptr<Discovery>> sources,
        PeerOptions options)
      : io_(io), board_(board), sources_(std::move(sources)), options_(std::move(options)) {
    for (const auto& source : sources_) {
      if (const Status started = source->start(*this); !started.ok()) {
        log::warn("other routers are not found: {}", started.error().message);
      }
    }
  }

  void tick(Seconds now) override {
    for (const auto& source : sources_) source->tick();
    for (auto& [name, peer] : peers_) {
      if (peer.fetch != nullptr && now >= peer.until) {
        peer.fetch.reset();
        failed(name, peer, "it did not answer in time");
      }
      if (peer.fetch == nullptr && now >= peer.next) ask(name, peer, now);
    }
  }

  void found(const FoundReplica& router) override {
    if (router.pending || router.draining) return lost(router.name);
    const auto at = peers_.find(router.name);
    if (at != peers_.end() && at->second.url == router.url) return;
    if (at != peers_.end()) lost(router.name);
    if (peers_.size() >= kMaxPeers) return;
    auto url = parse_url(router.url);
    if (!url.ok()) return;
    Peer& peer = peers_[router.name];
    peer.url = router.url;
    peer.line = std::make_unique<Upstream>(io_, std::move(url).value(), options_.upstream);
  }
  void lost(std::string_view name) override {
    peers_.erase(std::string(name));
    board_.peer_left(std::string(name));
  }

 private:
  struct Peer {
    std::string url;
    std::unique_ptr<Upstream> line;
    std::unique_ptr<Fetch> fetch;
    Seconds next = 0, until = kNever;
    std::string told;  // what is wrong with it
  };

  void ask(const std::string& name, Peer& peer, Seconds now) {
    peer.next = now + kInterval;
    peer.until = now + kPatience;
    peer.fetch = std::make_unique<Fetch>(*peer.line, "/router/load", options_.api_key, kMaxBytes,
                                         [this, &name, &peer](const Fetch::Answer& answer) {
                                           const std::unique_ptr<Fetch> over = std::move(peer.fetch);
                                           answered(name, peer, answer);
                                         });
  }

  void answered(const std::string& name, Peer& peer, const Fetch::Answer& answer) {
    if (answer.status != 200) {
      return failed(name, peer,
                    answer.status == 0 ? answer.body : "its status was " + std::to_string(answer.status));
    }
    auto share = parse_share(answer.body);
    if (!share.ok()) return failed(name, peer, share.error().message);
    peer.told.clear();
    const Seconds now = monotonic_now();
    if (share->router == options_.own_name) {
      peer.next = now + kSelfInterval;
      return;
    }
    board_.peer_said(name, std::move(share->models), now);
  }

  void failed(const std::string& name, Peer& peer, const std::string& why) {
    if (peer.told != why) {
      log::warn("the router {} does not tell its share of the load: {}", log::safe(name), log::safe(why));
    }
    peer.told = why;
  }

  IoThread& io_;
  DemandBoard& board_;
  const std::vector<std::unique_ptr<Discovery>> sources_;
  const PeerOptions options_;
  std::map<std::string, Peer> peers_;
};

}  // namespace

std::string share_json(const RouterShare& share) {
  std::string out = R"({"router":)";
  append_json_string(out, share.router);
  out += R"(,"models":{)";
  bool first = true;
  for (const auto& [model, load] : share.models) {
    if (!std::exchange(first, false)) out += ',';
    append_json_string(out, model);
    const size_t begin = out.append(":").size();
    for (const auto& [name, member] : kMembers) append_json_member(out, name, load.*member);
    out[begin] = '{';  // in place of the first comma
    out += '}';
  }
  return out + "}}";
}

Result<RouterShare> parse_share(std::string_view text) {
  const Error broken{ErrorCode::kInvalidArgument, "what it says is no share of the load"};
  const Json said = Json::parse(text, nullptr, false);
  if (!said.is_object()) return broken;
  const auto router = said.find("router"), models = said.find("models");
  if (router == said.end() || !router->is_string() || models == said.end() || !models->is_object() ||
      models->size() > kMaxModels)
    return broken;
  RouterShare share{.router = router->get<std::string>()};
  for (const auto& [model, told] : models->items()) {
    if (!told.is_object()) return broken;
    Load& load = share.models[model];
    for (const auto& [name, member] : kMembers) {
      const auto at = told.find(name);
      if (at == told.end()) continue;
      const double value = at->is_number() ? at->get<double>() : -1;
      if (!(value >= 0 && value <= kMost)) return broken;
      load.*member = value;
    }
  }
  return share;
}

std::unique_ptr<Errand> ask_peers(IoThread& io, DemandBoard& board,
                                  std::vector<std::unique_ptr<Discovery>> sources, PeerOptions options) {
  return std::make_unique<Peers>(io, board, std::move(sources), std::move(options));
}

}  // namespace sluice::router
