#include "server/net/listener.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "base/log.h"
#include "server/net/session.h"

namespace sluice {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::milliseconds;

namespace {

// Connections beyond max_connections that are still accepted, so that health checks get through.
constexpr int kHealthHeadroom = 64;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

}  // namespace

struct Listener::Door {
  Door(std::shared_ptr<Shared> shared_state, IoThreads& io)
      : shared(std::move(shared_state)),
        threads(io),
        acceptor(io.at(0).loop()),
        pause(io.at(0).loop()),
        spare_descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {}
  ~Door() {
    if (spare_descriptor >= 0) ::close(spare_descriptor);
  }

  std::shared_ptr<Shared> shared;
  IoThreads& threads;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  int spare_descriptor;  // given up for a moment to turn a connection away when the process has no descriptor
                         // left
  uint16_t port = 0;
  int next_thread = 0;

  static asio::awaitable<void> accept_loop(std::shared_ptr<Door> door);
  void place(tcp::socket socket);
  void shed();
};

asio::awaitable<void> Listener::Door::accept_loop(std::shared_ptr<Door> door) {
  for (;;) {
    SessionSet& set = *door->shared->sets[static_cast<size_t>(door->next_thread)];
    asio::io_context& loop = set.io->loop();
    auto [error, socket] = co_await door->acceptor.async_accept(loop, kToken);
    if (!door->acceptor.is_open()) co_return;
    if (error == asio::error::no_descriptors || error == boost::system::errc::too_many_files_open_in_system) {
      log::warn("no file descriptor left for a new connection; raise the limit (ulimit -n)");
      door->shed();
      door->pause.expires_after(milliseconds(50));
      co_await door->pause.async_wait(kToken);
      continue;
    }
    if (error) {
      door->pause.expires_after(milliseconds(5));
      co_await door->pause.async_wait(kToken);
      continue;
    }
    door->place(std::move(socket));
  }
}

void Listener::Door::place(tcp::socket socket) {
  if (shared->connections >= shared->options.max_connections + kHealthHeadroom) return;  // closes it
  ++shared->connections;
  SessionSet& set = *shared->sets[static_cast<size_t>(next_thread)];
  next_thread = (next_thread + 1) % threads.count();
  // std::function wants something copyable.
  auto carried = std::make_shared<tcp::socket>(std::move(socket));
  set.io->post([shared = shared, &set, carried] {
    if (set.closing) {
      --shared->connections;
      return;
    }
    start_session(shared, set, std::move(*carried));
  });
}

void Listener::Door::shed() {
  if (spare_descriptor < 0) return;
  ::close(spare_descriptor);
  boost::system::error_code ignored;
  {
    tcp::socket unlucky(acceptor.get_executor());
    acceptor.non_blocking(true, ignored);
    acceptor.accept(unlucky, ignored);
  }
  spare_descriptor = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

Result<std::unique_ptr<Listener>> Listener::start(ListenOptions options, Routes routes, IoThreads& threads) {
  SLUICE_CHECK(options.render_fault != nullptr);
  auto shared = std::make_shared<Shared>();
  for (int i = 0; i < threads.count(); ++i) {
    shared->sets.push_back(std::make_unique<SessionSet>());
    shared->sets.back()->io = &threads.at(i);
  }
  const std::string where = options.host + ":" + std::to_string(options.port);
  auto door = std::make_shared<Door>(shared, threads);
  boost::system::error_code error;
  asio::ip::address address =
      asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
  if (error) {
    tcp::resolver resolver(threads.at(0).loop());
    const auto found = resolver.resolve(options.host, std::to_string(options.port), error);
    if (error || found.empty()) {
      return Error{ErrorCode::kIo, "Cannot listen on " + where +
                                       ": --host is neither an address of this machine nor a name for one."};
    }
    address = found.begin()->endpoint().address();
  }
  const tcp::endpoint endpoint(address, options.port);
  door->acceptor.open(endpoint.protocol(), error);
  if (!error) door->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) door->acceptor.bind(endpoint, error);
  if (!error) door->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    return Error{ErrorCode::kIo, "Port " + std::to_string(options.port) + " on " + options.host +
                                     " is in use by another process; stop it or choose another --port."};
  }
  if (error) return Error{ErrorCode::kIo, "Cannot listen on " + where + ": " + error.message() + "."};
  door->port = door->acceptor.local_endpoint(error).port();
  shared->options = std::move(options);
  shared->routes = std::move(routes);
  asio::co_spawn(threads.at(0).loop(), Door::accept_loop(door), asio::detached);
  return std::unique_ptr<Listener>(new Listener(std::move(door)));
}

Listener::Listener(std::shared_ptr<Door> door) : door_(std::move(door)) {}

Listener::~Listener() {
  std::shared_ptr<Shared> shared = door_->shared;
  door_->threads.at(0).post([door = door_] {
    boost::system::error_code ignored;
    door->acceptor.close(ignored);
    door->pause.cancel();
  });
  for (auto& set : shared->sets) {
    set->io->post([shared, raw = set.get()] { close_sessions(*raw); });
  }
  while (shared->connections > 0) std::this_thread::sleep_for(milliseconds(1));
}

uint16_t Listener::port() const {
  return door_->port;
}
int Listener::active_exchanges() const {
  return door_->shared->active_exchanges;
}
int Listener::connections() const {
  return door_->shared->connections;
}

void Listener::begin_drain() {
  door_->shared->draining = true;
  for (auto& set : door_->shared->sets) {
    set->io->post([shared = door_->shared, raw = set.get()] { wake_sessions(*raw); });
  }
}

}  // namespace sluice
