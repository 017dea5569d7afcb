#include "server/net/upstream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <vector>

#include "server/net/response_parser.h"
#include "server/net/transport.h"

namespace sluice {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = size_t{64} << 10;

// A peer that vanished without a word must not look like one that has nothing to say: after 30 s in silence
// the kernel asks whether it is there, and after 30 more the connection is broken.
void keep_alive(tcp::socket& socket) {
  const int descriptor = socket.native_handle();
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(descriptor, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace

// The kept connections, oldest first.
struct Upstream::Pool {
  Pool(IoThread& thread, Url where, UpstreamOptions limits)
      : io(thread), url(std::move(where)), options(std::move(limits)) {}

  struct Idle {
    std::shared_ptr<Transport> connection;
    steady_clock::time_point since;
  };

  std::shared_ptr<Transport> take() {
    const auto oldest = steady_clock::now() - options.idle_timeout;
    while (!idle.empty() && idle.front().since < oldest) idle.pop_front();
    while (!idle.empty()) {
      auto connection = std::move(idle.back().connection);
      idle.pop_back();
      if (connection->is_quiet()) return connection;
      connection->close();
    }
    return nullptr;
  }
  void give_back(std::shared_ptr<Transport> connection) {
    if (closed || options.max_idle == 0) return connection->close();
    if (idle.size() >= options.max_idle) {
      idle.front().connection->close();
      idle.pop_front();
    }
    idle.push_back({std::move(connection), steady_clock::now()});
  }
  void close() {
    closed = true;
    for (Idle& each : idle) each.connection->close();
    idle.clear();
  }

  IoThread& io;
  const Url url;
  const bool is_secure = url.scheme == "https";
  const UpstreamOptions options;
  std::deque<Idle> idle;
  TlsTicket ticket;  // of the last answer: the next handshake is shorter
  bool closed = false;
};

namespace {

// One request and its answer. Kept alive by its coroutine; `sink_` is null once nobody listens.
class Conversation final : public std::enable_shared_from_this<Conversation> {
 public:
  Conversation(std::shared_ptr<Upstream::Pool> pool, UpstreamRequest request, UpstreamSink& sink)
      : pool_(std::move(pool)),
        request_(std::move(request)),
        sink_(&sink),
        awake_(pool_->io.loop(), steady_clock::time_point::max()) {}

  void start() {
    asio::co_spawn(
        pool_->io.loop(), [self = shared_from_this()] { return self->live(); }, asio::detached);
  }
  void drop() {
    sink_ = nullptr;
    if (connection_) connection_->close();
    if (connecting_ != nullptr) {
      boost::system::error_code ignored;
      connecting_->close(ignored);
    }
    awake_.cancel();
  }
  void pause() { paused_ = true; }
  void resume() {
    paused_ = false;
    awake_.cancel();
  }

 private:
  asio::awaitable<void> live() {
    const auto self = shared_from_this();
    bool again = true;
    while (again && sink_ != nullptr) {
      again = false;
      fault_.clear();
      connection_ = pool_->take();
      const bool used_before = connection_ != nullptr;
      if (!used_before) co_await connect();
      if (connection_ == nullptr) break;
      parser_.reset(request_.head.starts_with("HEAD "));
      const bool sent = co_await send();
      if (sent && sink_ != nullptr) co_await receive();
      if (sink_ == nullptr) break;
      // A kept connection that the server closed meanwhile: that was not yet an answer.
      if (used_before && parser_.state() != ResponseParser::State::kDone && !parser_.started()) {
        connection_->close();
        again = true;
        continue;
      }
      if (!sent && fault_.empty()) fault_ = "the request could not be sent";
    }
    finish();
  }

  asio::awaitable<void> connect() {
    const Url& url = pool_->options.proxy ? pool_->options.proxy->url : pool_->url;
    boost::system::error_code error;
    const asio::ip::address address = asio::ip::make_address(url.host, error);
    std::vector<tcp::endpoint> endpoints;
    if (!error) {
      endpoints.emplace_back(address, url.port);
    } else {
      tcp::resolver resolver(pool_->io.loop());
      auto [unknown, found] = co_await resolver.async_resolve(url.host, std::to_string(url.port), kToken);
      if (unknown) {
        fault_ = "the host " + url.host + " was not found";
        co_return;
      }
      for (const auto& each : found) endpoints.push_back(each.endpoint());
    }
    for (const tcp::endpoint& endpoint : endpoints) {
      if (sink_ == nullptr) co_return;
      tcp::socket socket(pool_->io.loop());
      connecting_ = &socket;
      asio::steady_timer patience(pool_->io.loop(), pool_->options.connect_timeout);
      patience.async_wait([self = shared_from_this(), &socket](const boost::system::error_code& cancelled) {
        boost::system::error_code ignored;
        if (!cancelled && self->connecting_ == &socket) socket.close(ignored);
      });
      auto [refused] = co_await socket.async_connect(endpoint, kToken);
      connecting_ = nullptr;
      const bool in_time = patience.cancel() > 0;
      if (sink_ == nullptr) co_return;
      if (!refused && socket.is_open()) {
        keep_alive(socket);
        connection_ = std::make_shared<Transport>(std::move(socket));
        fault_.clear();
        if (!pool_->is_secure) co_return;
        if (pool_->options.proxy) co_await open_tunnel();
        if (sink_ != nullptr && fault_.empty()) co_await greet();
        if (sink_ == nullptr || fault_.empty()) co_return;
        std::exchange(connection_, nullptr)->close();
        continue;
      }
      fault_ = in_time ? "connecting: " + refused.message() : "connecting took too long";
    }
  }

  // Leaves in fault_ what went wrong.
  asio::awaitable<void> open_tunnel() {
    const std::string& credentials = pool_->options.proxy->credentials;
    const std::string host =
        pool_->url.host.find(':') == std::string::npos ? pool_->url.host : "[" + pool_->url.host + "]";
    const std::string authority = host + ":" + std::to_string(pool_->url.port);
    std::string head = "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n";
    if (!credentials.empty()) head += "Proxy-Authorization: " + credentials + "\r\n";
    head += "\r\n";
    asio::steady_timer patience(pool_->io.loop(), pool_->options.connect_timeout);
    patience.async_wait([connection = connection_](const boost::system::error_code& cancelled) {
      if (!cancelled) connection->close();
    });
    const bool sent = co_await connection_->write_all({head, {}, {}}, pool_->options.connect_timeout);
    fault_ = "the proxy left";
    if (!sent) co_return;
    parser_.reset(true);
    std::vector<char> room(kReadBytes);
    while (parser_.state() == ResponseParser::State::kHead) {
      const auto [cut] = co_await connection_->ready(tcp::socket::wait_read);
      if (cut || sink_ == nullptr) co_return;
      const Transport::Reading reading = connection_->read_some(room);
      std::string_view bytes(room.data(), reading.bytes), nothing;
      bytes.remove_prefix(parser_.feed(bytes, nothing));
      if (parser_.state() != ResponseParser::State::kFailed && (reading.ended || !bytes.empty())) co_return;
    }
    patience.cancel();
    if (parser_.state() == ResponseParser::State::kFailed)
      fault_ = "the proxy: " + parser_.fault();
    else if (parser_.status() != 200)
      fault_ = "the proxy answered " + std::to_string(parser_.status());
    else
      fault_.clear();
  }

  asio::awaitable<void> greet() {
    const UpstreamOptions& options = pool_->options;
    if (options.tls == nullptr) {
      fault_ = "https needs to know whom to trust";
      co_return;
    }
    const std::string& host = options.server_name.empty() ? pool_->url.host : options.server_name;
    fault_ = co_await connection_->greet(*options.tls, host, pool_->ticket, options.connect_timeout);
  }

  asio::awaitable<bool> send() {
    const std::string_view body = request_.body ? std::string_view(*request_.body) : std::string_view();
    const bool sent =
        co_await connection_->write_all({request_.head, body, {}}, pool_->options.write_timeout);
    if (sent && sink_ != nullptr) sink_->on_sent();
    co_return sent;
  }

  asio::awaitable<void> receive() {
    thread_local std::vector<char> scratch(kReadBytes);
    auto readiness = tcp::socket::wait_read;
    for (;;) {
      while (paused_ && sink_ != nullptr) {
        awake_.expires_at(steady_clock::time_point::max());
        co_await awake_.async_wait(kToken);
      }
      if (sink_ == nullptr) co_return;
      const auto [cut] = co_await connection_->ready(readiness);
      if (cut || sink_ == nullptr) co_return;
      const Transport::Reading reading = connection_->read_some(scratch);
      readiness = reading.next;
      tell({scratch.data(), reading.bytes});
      if (sink_ == nullptr) co_return;
      if (reading.ended && connection_->ended_well()) parser_.end_of_stream();
      if (parser_.state() == ResponseParser::State::kDone) {
        reusable_ = parser_.keep_alive() && !reading.ended && !surplus_;
        co_return;
      }
      if (parser_.state() == ResponseParser::State::kFailed) {
        fault_ = parser_.fault();
        co_return;
      }
      if (reading.ended) {
        fault_ = "the connection was cut";
        co_return;
      }
    }
  }

  void tell(std::string_view bytes) {
    using State = ResponseParser::State;
    while (!bytes.empty() && sink_ != nullptr) {
      if (parser_.state() == State::kDone) {
        surplus_ = true;  // an answer nobody asked for
        return;
      }
      if (parser_.state() == State::kFailed) return;
      const bool in_head = parser_.state() == State::kHead;
      std::string_view piece;
      bytes.remove_prefix(parser_.feed(bytes, piece));
      if (in_head && (parser_.state() == State::kBody || parser_.state() == State::kDone)) {
        sink_->on_head(parser_.status(), parser_.headers());
      }
      if (!piece.empty() && sink_ != nullptr) sink_->on_piece(piece);
    }
  }

  void finish() {
    if (connection_ != nullptr) {
      if (reusable_ && sink_ != nullptr)
        keep();
      else
        connection_->close();
    }
    UpstreamSink* sink = std::exchange(sink_, nullptr);
    if (sink == nullptr) return;
    if (connection_ == nullptr && reusable_) return sink->on_end();
    if (parser_.state() == ResponseParser::State::kDone && fault_.empty()) return sink->on_end();
    sink->on_fault(fault_.empty() ? "the connection broke" : fault_);
  }

  void keep() {
    if (pool_->is_secure) pool_->ticket = pool_->options.tls->ticket_of(*connection_->tls());
    pool_->give_back(std::move(connection_));
  }

  const std::shared_ptr<Upstream::Pool> pool_;
  const UpstreamRequest request_;
  UpstreamSink* sink_;
  asio::steady_timer awake_;
  std::shared_ptr<Transport> connection_;
  tcp::socket* connecting_ = nullptr;
  ResponseParser parser_;
  bool paused_ = false;
  bool surplus_ = false;
  bool reusable_ = false;
  std::string fault_;
};

class Call final : public UpstreamCall {
 public:
  explicit Call(std::shared_ptr<Conversation> conversation) : conversation_(std::move(conversation)) {}
  ~Call() override { conversation_->drop(); }
  void pause() override { conversation_->pause(); }
  void resume() override { conversation_->resume(); }

 private:
  const std::shared_ptr<Conversation> conversation_;
};

}  // namespace

Upstream::Upstream(IoThread& io, Url url, UpstreamOptions options)
    : pool_(std::make_shared<Pool>(io, std::move(url), options)) {}

Upstream::~Upstream() {
  pool_->close();
}

std::unique_ptr<UpstreamCall> Upstream::send(UpstreamRequest request, UpstreamSink& sink) {
  auto conversation = std::make_shared<Conversation>(pool_, std::move(request), sink);
  conversation->start();
  return std::make_unique<Call>(std::move(conversation));
}

const Url& Upstream::url() const {
  return pool_->url;
}
size_t Upstream::idle_connections() const {
  return pool_->idle.size();
}

}  // namespace sluice
