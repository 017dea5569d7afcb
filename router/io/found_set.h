// What a source said last, so that only what differs is told. One I/O thread.
#pragma once

#include <map>
#include <string>

#include "router/io/discovery.h"

namespace sluice::router {

using FoundReplicas = std::map<std::string, FoundReplica, std::less<>>;  // by name

class FoundSet {
 public:
  // Who left is told first: a name may come back with another address.
  void become(FoundReplicas replicas, DiscoverySink& sink) {
    for (const auto& [name, replica] : told_) {
      if (!replicas.contains(name)) sink.lost(name);
    }
    for (const auto& [name, replica] : replicas) {
      const auto before = told_.find(name);
      if (before == told_.end() || !(before->second == replica)) sink.found(replica);
    }
    told_ = std::move(replicas);
  }
  const FoundReplicas& told() const { return told_; }

 private:
  FoundReplicas told_;
};

}  // namespace sluice::router
