// The router's line to one replica: is it alive and ready, which models does it serve, what does it tell of
// itself (GET /kv_events), and the connections on which requests travel to it. Joins it to the core when it
// has answered, takes it out when it says goodbye. One I/O thread; `tick` drives it.
//
//   pending --its source says that it may be asked-->  asking
//   asking  --ready, its models and its events (or their absence) are known-->  joined
//   joined  --another process answers there, or it closes-->  asking
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "router/core/router_core.h"
#include "router/io/discovery.h"
#include "router/io/fetch.h"
#include "router/io/kv_lines.h"
#include "router/io/outgoing.h"
#include "server/net/upstream.h"

namespace sluice::router {

struct LinkOptions {
  Seconds health_interval = 1;
  Seconds health_timeout = 2;
  int max_running = 256;  // requests of one replica at once, where it names no other number
  std::string api_key;    // for what the router itself asks: models, metrics, events
  // Clients' keys are the router's own affair: replicas get `api_key` in their place.
  bool replaces_keys = false;
  UpstreamOptions upstream;
};

struct ServedModel {
  std::string id;
  std::string card;  // its object in /v1/models, as the replica gave it
};

// Whom a link tells.
class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  virtual RouterCore& core() = 0;
  virtual Seconds now() const = 0;
  virtual IoThread& io() = 0;
  // After calls into the core: do what it wants.
  virtual void settle() = 0;
  virtual RequestId request_of(std::string_view request_name) const = 0;
  virtual void joined(class ReplicaLink& link) = 0;
  virtual void parted(ReplicaId id) = 0;
};

class ReplicaLink {
 public:
  ReplicaLink(LinkOwner& owner, FoundReplica found, const LinkOptions& options);
  ~ReplicaLink();  // parts
  ReplicaLink(const ReplicaLink&) = delete;
  ReplicaLink& operator=(const ReplicaLink&) = delete;

  void tick(Seconds now);
  // The source says something else of it; the URL is the same.
  void change(FoundReplica found);
  // The core lost track of its blocks: connect to its events again.
  void renew_events();

  ReplicaId id() const { return id_; }  // kNoReplica: not joined
  const FoundReplica& found() const { return found_; }
  Upstream& upstream() { return upstream_; }
  Destination destination() const;  // lives as long as this
  bool is_ours() const { return streams_events_; }
  uint32_t block_tokens() const { return block_tokens_; }
  const std::vector<ServedModel>& models() const { return models_; }
  Seconds last_event_at() const { return last_event_at_; }
  bool last_check_passed() const { return checked_well_; }
  std::string_view trouble() const { return trouble_; }  // why it is not joined, or was not well
  // While it says that it loads its model: the fraction that is done.
  std::optional<double> loading() const { return loading_; }

 private:
  class EventStream;

  void check_health(Seconds now);
  void health_answered(const Fetch::Answer& answer);
  void ask_models();
  bool take_models(const std::string& body);
  void ask_metrics();
  void take_metrics(const std::string& text);
  void ask(const std::string& target, size_t max_bytes, std::function<void(Fetch::Answer)> done);
  void open_events();
  void events_opened(bool are_told, std::string_view why);
  void events_broke(bool closing, std::string_view why);
  void hello(const KvHello& hello);
  void join();
  void part();

  LinkOwner& owner_;
  FoundReplica found_;
  const LinkOptions options_;
  Upstream upstream_;
  std::string authority_, base_path_;
  ReplicaId id_ = kNoReplica;
  std::vector<ServedModel> models_;

  std::unique_ptr<Fetch> fetch_;
  Seconds fetch_until_ = kNever;
  Seconds next_check_ = 0;
  size_t health_path_ = 0;
  bool asking_ = false;  // between a good health check and join()
  bool checked_well_ = false;
  std::string trouble_;
  std::optional<double> loading_;

  std::unique_ptr<EventStream> events_;
  bool streams_events_ = false;
  bool knows_events_ = false;  // whether it has them is known
  uint64_t epoch_ = 0;
  uint32_t block_tokens_ = 16;
  uint64_t kv_tokens_ = 0;  // 0: not said
  int runs_at_once_ = 0;    // 0: not said
  Seconds events_again_ = kNever;
  Seconds events_until_ = kNever;  // something must have come by then
  Seconds backoff_ = 0;
  Seconds last_event_at_ = -kNever;
};

}  // namespace sluice::router
