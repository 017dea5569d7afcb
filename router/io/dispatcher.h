// Ties the core to the world: gives it the time and what happened, does what it wants, keeps the line to each
// replica and the requests that are on their way. Everything here lives on one I/O thread.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "router/core/router_core.h"
#include "router/io/access_log.h"
#include "router/io/demand_board.h"
#include "router/io/discovery.h"
#include "router/io/errand.h"
#include "router/io/histogram.h"
#include "router/io/mirror.h"
#include "router/io/relay.h"
#include "router/io/replica_link.h"
#include "router/io/sketch.h"

namespace sluice::router {

struct DispatcherOptions {
  RouterCoreOptions core;
  LinkOptions link;
  SketchOptions sketch;
  std::map<std::string, ShadowTraffic> shadows;  // by the model that answers
  size_t max_shadow_requests = 64;               // on their way at once; beyond it they are dropped
  DemandBoardOptions demand;
  bool continues = true;           // broken streams of ours go on elsewhere
  Seconds comment_interval = 5;    // to a client that is held
  Seconds stall_timeout = 300;     // without a byte of an answer that has begun
  Seconds sick_stall_timeout = 2;  // the same where the replica's health checks fail as well
};

class Dispatcher final : public LinkOwner, public DiscoverySink {
 public:
  Dispatcher(IoThread& io, const DispatcherOptions& options, AccessLog& access_log);
  ~Dispatcher() override;

  // On the I/O thread, once: asks the sources and runs the errands from here on. An Error of a source that
  // cannot work.
  Status start(std::vector<std::unique_ptr<Discovery>> sources,
               std::vector<std::unique_ptr<Errand>> errands = {});
  void refresh_sources();
  void forget_errands() { errands_.clear(); }
  // Not ready from now on; requests that are on their way are still taken. leaving() on any thread.
  void begin_leaving() { leaving_ = true; }
  bool leaving() const { return leaving_; }
  // From now on new requests are refused; running ones go on.
  void begin_drain() { leaving_ = draining_ = true; }
  bool draining() const { return draining_; }

  // --- for relays ---
  const DispatcherOptions& options() const { return options_; }
  Counters& counters() { return counters_; }
  AccessLog& access_log() { return access_log_; }
  DemandBoard& demand() { return demand_; }
  ReplicaLink* link_of(ReplicaId id);
  std::string name_of(ReplicaId id) const;
  RequestId enter(Journey& journey);
  void leave(const Journey& journey);
  // Sends a copy to where --shadow-traffic says, if it is this one's turn.
  void shadow(const Relay& relay);
  // The mirror has ended and is destroyed soon.
  void drop(const Mirror& mirror);
  // 404 in words, when no replica that we know of will ever serve it; empty otherwise.
  std::string unknown_model(const std::string& model) const;
  RequestSketch sketch_of(const HttpRequest& request, const BodyScan& scan, Seconds now,
                          std::string_view model = {}) const;
  // Which replica keeps a response (POST /v1/responses) under its id; the last hundred thousand are known.
  void remember_response(std::string_view response, ReplicaId replica);
  ReplicaId home_of(std::string_view response) const;
  uint64_t random();
  bool is_sick(ReplicaId id) const { return sick_.contains(id); }  // its health checks fail

  // --- LinkOwner ---
  RouterCore& core() override { return core_; }
  Seconds now() const override;
  IoThread& io() override { return io_; }
  void settle() override;
  RequestId request_of(std::string_view request_name) const override;
  void joined(ReplicaLink& link) override;
  void parted(ReplicaId id) override;

  // --- DiscoverySink ---
  void found(const FoundReplica& replica) override;
  void lost(std::string_view name) override;

  // --- looking in ---
  const RouterCore& core_view() const { return core_; }
  const Counters& counters_view() const { return counters_; }
  const DemandBoard& demand_view() const { return demand_; }
  const std::map<std::string, std::unique_ptr<ReplicaLink>, std::less<>>& links() const { return links_; }
  const std::unordered_map<RequestId, Journey*>& journeys() const { return journeys_; }
  const std::vector<std::unique_ptr<Discovery>>& sources() const { return sources_; }
  const std::string& name() const { return name_; }  // of this router, new at each start
  size_t ready_replicas() const;
  bool has_ready(const std::string& model) const;
  // For a client that is held: what it waits for, as far as known.
  std::string waiting_words(const std::string& model) const;
  uint64_t held_now() const;

 private:
  void tick();
  void perform(const Action& action);
  void look_at_demand(Seconds at);
  std::string default_model() const;

  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  IoThread& io_;
  const DispatcherOptions options_;
  AccessLog& access_log_;
  RouterCore core_;
  Counters counters_;
  DemandBoard demand_;
  std::vector<std::unique_ptr<Discovery>> sources_;
  std::vector<std::unique_ptr<Errand>> errands_;
  std::map<std::string, std::unique_ptr<ReplicaLink>, std::less<>> links_;
  std::unordered_map<ReplicaId, ReplicaLink*> joined_;
  std::unordered_map<RequestId, Journey*> journeys_;
  std::unordered_map<const Mirror*, std::unique_ptr<Mirror>> mirrors_;
  std::vector<std::unique_ptr<Mirror>> dropped_;
  struct Named {
    RequestId id = 0;  // 0: several live ones have this name, and events of it say nothing
    int live = 0;
  };
  std::unordered_map<std::string, Named, TextHash, std::equal_to<>> names_;
  std::unordered_map<std::string, ReplicaId, TextHash, std::equal_to<>> homes_;
  std::deque<std::string> homes_by_age_;
  std::vector<Action> actions_;
  RequestId last_id_ = 0;
  uint32_t block_tokens_ = 16;
  std::string last_model_;  // meant by who names none while no replica is there: else nobody would be woken
  uint64_t random_ = 0;
  std::string name_;
  std::unordered_set<ReplicaId> sick_;
  bool settling_ = false;
  std::atomic<bool> leaving_ = false;
  bool draining_ = false;
  Seconds journeys_ticked_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace sluice::router
