// Where replicas come from: each source tells of replicas that come, change and go, and knows nothing of what
// is done with them. Everything on one I/O thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::router {

// The pod behind a replica, where Kubernetes told of it.
struct PodName {
  std::string space, name;  // its namespace
  bool operator==(const PodName&) const = default;
};

// One replica as a source sees it. `name` is unique and stable over restarts (a URL, a pod's name); equal
// names of different sources are one replica, whose last word counts.
struct FoundReplica {
  std::string name;
  std::string url;                  // http[s]://host:port, perhaps with a path before the API's
  double weight = 1;                // share of the traffic against its fellows, > 0
  std::vector<std::string> models;  // served names; empty: ask it
  int max_running = 0;              // requests it runs at once; 0: --max-replica-requests
  bool draining = false;            // it shall get nothing new
  bool pending = false;             // it is on its way, and gets no requests yet
  std::string server_name;          // what its certificate is for; empty: the URL's host
  PodName pod;                      // empty: none that we know of

  bool operator==(const FoundReplica&) const = default;
};

class DiscoverySink {
 public:
  virtual ~DiscoverySink() = default;
  // New, or changed.
  virtual void found(const FoundReplica& replica) = 0;
  virtual void lost(std::string_view name) = 0;
};

class Discovery {
 public:
  virtual ~Discovery() = default;
  // Tells what is there already. `sink` outlives this. An Error when this source can never work.
  virtual Status start(DiscoverySink& sink) = 0;
  // Called some ten times a second: whatever is due is done, without blocking.
  virtual void tick() {}
  // Somebody asks to look again now (SIGHUP).
  virtual void refresh() {}
  // For people: which source this is, as in "dns llm.example".
  virtual std::string name() const = 0;
  // Why it cannot tell anything new now, in a sentence or part of one; empty: it can.
  virtual std::string_view trouble() const { return {}; }
};

// "http://10.0.0.1:8000,weight=2,max-running=64,model=llama,name=a": a URL and, after commas, what is known
// of it; `model` may come several times. kInvalidArgument with a sentence.
Result<FoundReplica> parse_replica(std::string_view text);

}  // namespace sluice::router
