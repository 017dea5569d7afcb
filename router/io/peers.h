// The other routers before the same replicas: each second each is asked for its share of every model's load
// (GET /router/load), so that all of them tell the same demand, and a scaler may ask any of them. Who is
// silent for some seconds has no share any more. One I/O thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "router/io/discovery.h"
#include "router/io/errand.h"
#include "server/net/io_threads.h"
#include "server/net/upstream.h"
#include "server/scaling/demand.h"

namespace sluice::router {

class DemandBoard;

// What one router has of a model's load beside the others; a router's own name is new at each start.
struct RouterShare {
  std::string router;
  std::map<std::string, Load> models;
};
// {"router":"…","models":{"llama":{"in_flight":3,…}}}
std::string share_json(const RouterShare& share);
// Every number is checked; kInvalidArgument for what is no share.
Result<RouterShare> parse_share(std::string_view text);

struct PeerOptions {
  std::string own_name;      // who answers with it is ourselves
  std::string api_key;       // that opens /router there
  UpstreamOptions upstream;  // to them
};

// `io` and `board` outlive it.
std::unique_ptr<Errand> ask_peers(IoThread& io, DemandBoard& board,
                                  std::vector<std::unique_ptr<Discovery>> sources, PeerOptions options);

}  // namespace sluice::router
