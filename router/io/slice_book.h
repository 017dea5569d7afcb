// All EndpointSlices of a Service as lists and watches tell of them, and the replicas that they add up to.
// Knows no connection and no clock: whoever reads the API hands in its texts and does what the verdict says.
// Pure; one thread.
//
//   ready                          -> a replica
//   terminating, serving or not    -> draining: it ends what it has and takes nothing new
//   not ready, known before        -> draining, until it is ready again or leaves
//   not ready, never seen ready    -> pending: on its way
//   in no slice any more           -> lost
//
// A pod is one replica, whatever the slices and address families it stands in: the best of its states counts,
// and of its addresses IPv4.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "router/io/endpoint_slice.h"
#include "router/io/found_set.h"

namespace sluice::router {

struct SliceBookOptions {
  std::string port;         // a slice's port by name, or any by number; empty: the only one, or "http[s]"
  std::string server_name;  // of every replica's certificate
};

class SliceBook {
 public:
  static constexpr size_t kMaxEndpoints = 10'000;

  explicit SliceBook(SliceBookOptions options) : options_(std::move(options)) {}

  // A whole list: what it does not name is gone when it ends. Until then all stays as it was; begin_list()
  // forgets a list that did not come to its end.
  void begin_list();
  Status list_item(std::string_view slice);
  void end_list(std::string version);

  enum class Verdict : uint8_t {
    kGoOn,
    kExpired,  // the version is too old for a watch: list again
    kRefused,  // the API ended the watch with an error: fault()
    kBroken,   // this is not the protocol: fault()
  };
  // A line of the watch that follows the list. After anything but kGoOn no further line of it counts.
  Verdict watch_line(std::string_view line);

  // From where a watch goes on; empty before the first list.
  const std::string& version() const { return version_; }
  const WatchEvent::Status& status() const { return status_; }  // of kRefused and kExpired
  const std::string& fault() const { return fault_; }

  // Whether replicas() may be other ones than at its last call.
  bool changed() const { return changed_; }
  FoundReplicas replicas();
  // After replicas(): what keeps endpoints from becoming replicas, in a sentence; empty when nothing does.
  const std::string& trouble() const { return trouble_; }
  size_t slices() const { return slices_.size(); }

 private:
  using Slices = std::map<std::string, EndpointSlice>;
  const SlicePort* port_of(const EndpointSlice& slice, SlicePort& spare);
  void add(FoundReplicas& all, std::map<std::string, int>& ranks, const EndpointSlice& slice,
           const SliceEndpoint& endpoint, const SlicePort& port);

  const SliceBookOptions options_;
  Slices slices_, listed_;
  std::string version_;
  std::set<std::string, std::less<>> known_;  // names that were told
  WatchEvent::Status status_;
  std::string fault_, trouble_;
  bool changed_ = false;
};

}  // namespace sluice::router
