// One connection: a coroutine that reads a request, routes it, and writes the answer, and a second one that
// reads ahead, so that a client's departure is seen while its request runs. Lives on one I/O thread. Internal
// to server/net.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <unordered_set>
#include <vector>

#include "server/net/listener.h"

namespace sluice {

class Session;

// Of one I/O thread; touched by it alone.
struct SessionSet {
  IoThread* io = nullptr;
  std::unordered_set<Session*> sessions;
  bool closing = false;
};

struct Listener::Shared {
  ListenOptions options;
  Routes routes;
  std::atomic<int> connections{0};
  std::atomic<int> active_exchanges{0};
  std::atomic<size_t> body_bytes{0};
  std::atomic<bool> draining{false};
  std::vector<std::unique_ptr<SessionSet>> sets;  // one per I/O thread
};

// On the set's thread. The session counts itself in shared.connections until it ends.
void start_session(std::shared_ptr<Listener::Shared> shared, SessionSet& set,
                   boost::asio::ip::tcp::socket socket);
// On the set's thread: idle connections close now, busy ones are cut.
void close_sessions(SessionSet& set);
// On the set's thread: wakes idle connections so that they see the drain.
void wake_sessions(SessionSet& set);

}  // namespace sluice
