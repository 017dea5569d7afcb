#include "server/net/session.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

#include "base/log.h"
#include "server/net/answer_head.h"
#include "server/net/http_parser.h"
#include "server/net/tls_stream.h"
#include "server/net/transport.h"

namespace sluice {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = size_t{64} << 10;
constexpr milliseconds kLinger{1000};
constexpr size_t kMaxLingerBytes = size_t{4} << 20;

}  // namespace

class Session final : public Exchange, public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<Listener::Shared> shared, SessionSet& set, tcp::socket socket)
      : shared_(std::move(shared)),
        set_(set),
        transport_(std::make_shared<Transport>(std::move(socket))),
        parser_(shared_->options.limits),
        news_(transport_->get_executor()),
        room_(transport_->get_executor()),
        opened_in_drain_(shared_->draining) {
    set_.sessions.insert(this);
  }
  ~Session() override {
    set_.sessions.erase(this);
    release_body();
    --shared_->connections;
  }

  void start() { spawn(&Session::live); }

  void cut() {
    cut_ = true;
    close();
    tell();
  }
  void wake() { tell(); }

  // ---- Exchange ----
  void respond(HttpResponse response) override {
    if (answered_) return;
    answered_ = ended_ = whole_ = true;
    status_ = response.status;
    head_ = make_head(response, true);
    if (request_method_ != "HEAD") unsent_ = std::move(response.body);
    tell();
  }
  void begin(HttpResponse response) override {
    if (answered_) return;
    answered_ = true;
    status_ = response.status;
    head_ = make_head(response, false);
    tell();
  }
  bool write(std::string_view bytes) override {
    if (cut_ || ended_) return false;
    unsent_.append(bytes);
    if (unsent_.size() > shared_->options.max_unsent_bytes) {
      log::info("request {}: the client does not read its answer; cancelled", request_id_);
      cut();
      return false;
    }
    tell();
    return true;
  }
  void end() override {
    ended_ = true;
    tell();
  }
  void abort() override {
    if (!whole_) cut();
  }
  size_t unsent_bytes() const override { return unsent_.size(); }
  IoThread& io() override { return *set_.io; }

 private:
  void spawn(asio::awaitable<void> (Session::*coroutine)()) {
    asio::co_spawn(
        transport_->get_executor(), [self = shared_from_this(), coroutine] { return (*self.*coroutine)(); },
        asio::detached);
  }

  // ---- the coroutine that reads ahead ----
  asio::awaitable<void> read_ahead() {
    const auto self = shared_from_this();
    thread_local std::vector<char> scratch(kReadBytes);
    auto readiness = tcp::socket::wait_read;
    size_t lingered = 0;
    while (!cut_) {
      const bool full = ahead_.size() >= shared_->options.max_pipelined_bytes;
      if (full && !answering_ && !lingering_) {
        room_.expires_at(steady_clock::time_point::max());
        co_await room_.async_wait(kToken);
        continue;
      }
      const auto [failed] = co_await transport_->ready(readiness);
      if (failed || cut_) break;
      const Transport::Reading reading = transport_->read_some(scratch);
      readiness = reading.next;
      if (lingering_) {
        lingered += reading.bytes;
        if (lingered > kMaxLingerBytes) break;
      } else if (full && reading.bytes > 0) {
        // Too many pipelined bytes behind a running answer. Left unread they would hide the client's
        // departure, so they are dropped, and the connection ends with this answer: whoever pipelines must be
        // ready to ask again (RFC 9112, 9.3.2).
        close_after_ = true;
      } else if (reading.bytes > 0) {
        ahead_.append(scratch.data(), reading.bytes);
        tell();
      }
      if (reading.ended) break;
    }
    peer_gone_ = true;
    if (busy_ && !ended_) cut();
    tell();
  }

  // ---- the coroutine that serves ----
  asio::awaitable<void> live() {
    const auto self = shared_from_this();
    const ListenOptions& options = shared_->options;
    auto greeting = Transport::Greeting::kReady;
    if (options.tls != nullptr) greeting = co_await transport_->greet(*options.tls, options.head_timeout);
    if (transport_->tls() != nullptr) peer_name_ = transport_->tls()->peer_name();
    spawn(&Session::read_ahead);
    if (greeting == Transport::Greeting::kReady) {
      bool again = true;
      while (again && !cut_) again = co_await serve_one();
    } else if (greeting == Transport::Greeting::kPlainText) {
      const HttpFault fault{400, "This port speaks HTTPS only; write https:// in place of http://."};
      co_await refuse(fault);
    }
    if (!cut_) transport_->shutdown_send();
    if (!cut_ && !peer_gone_) co_await linger();
    close();
  }

  // Reads one request and answers it. False: the connection ends.
  asio::awaitable<bool> serve_one() {
    const ListenOptions& options = shared_->options;
    parser_.reset();
    answered_ = ended_ = whole_ = false;
    request_id_.clear();
    traceparent_.clear();
    path_.clear();
    cross_origin_ = HeaderList();
    request_method_.clear();
    route_ = nullptr;
    close_after_ = false;
    const bool have_head = co_await read_head();
    if (!have_head) co_return false;
    busy_ = true;
    ++shared_->active_exchanges;
    arrived_ = steady_clock::now();
    co_await answer_one(options);
    responder_.reset();  // cancels what still runs
    release_body();
    busy_ = false;
    --shared_->active_exchanges;
    record();
    co_return !close_after_ && !cut_;
  }

  // False: nothing to answer (closed, or idle too long).
  asio::awaitable<bool> read_head() {
    const ListenOptions& options = shared_->options;
    auto deadline = steady_clock::now() + options.idle_timeout;
    bool first = true;
    std::optional<steady_clock::time_point> farewell;
    while (parser_.state() == RequestParser::State::kHead) {
      if (!ahead_.empty()) {
        consume();
        if (first && parser_.started()) {
          first = false;
          deadline = steady_clock::now() + options.head_timeout;
        }
        continue;
      }
      if (cut_ || peer_gone_) co_return false;
      if (shared_->draining && !parser_.started()) {
        // Closed at once, it would cross a request that is on its way.
        if (!farewell) farewell = steady_clock::now() + options.farewell;
        deadline = std::min(deadline, *farewell);
      }
      const bool news = co_await wait_news(deadline);
      if (!news && steady_clock::now() >= deadline) {
        if (!parser_.started()) co_return false;
        timed_out_ = true;
        co_return true;
      }
    }
    co_return true;
  }

  asio::awaitable<void> answer_one(const ListenOptions& options) {
    HttpRequest& request = parser_.request();
    request_method_ = request.method;
    minor_version_ = request.minor_version;
    request_id_ = choose_request_id(request.headers);
    path_ = request.path;
    request.peer_name = peer_name_;
    request.owed = !opened_in_drain_;
    traceparent_ = choose_traceparent(request.headers);
    cross_origin_ = cross_origin_headers(options.cross_origin, request);
    close_after_ = !request.keep_alive || shared_->draining;
    if (timed_out_) {
      const HttpFault fault{408, "The request's headers did not arrive in time (--head-timeout)."};
      co_await refuse(fault);
      co_return;
    }
    if (parser_.state() == RequestParser::State::kFailed) {
      co_await refuse(parser_.fault());
      co_return;
    }
    Routes::Match match = shared_->routes.find(request.method, request.path);
    route_ = match.route;
    std::optional<HttpResponse> refusal = judge(match, request);
    if (refusal) {
      if (!parser_.body_is_empty()) close_after_ = true;  // its body is not read
      respond(std::move(*refusal));
      co_await flush();
      co_return;
    }
    const bool have_body = co_await read_body(options);
    if (!have_body) co_return;
    request.request_id = request_id_;
    request.path_rest = std::move(match.rest);
    request.arrival = arrived_;
    answering_ = true;
    room_.cancel();
    try {
      responder_ = match.route->answer(*this, std::move(request));
    } catch (const std::exception&
                 error) {  // out of memory, or our own fault: this request fails, the server does not
      log::error("request {}: {}", request_id_, error.what());
      respond(options.render_fault({500, "The server failed on this request."}, path_));
    }
    co_await pump();
    answering_ = false;
  }

  std::optional<HttpResponse> judge(const Routes::Match& match, const HttpRequest& request) {
    const ListenOptions& options = shared_->options;
    if (auto preflight = answer_preflight(options.cross_origin, request)) return preflight;
    if (match.route == nullptr) {
      if (match.allowed.empty())
        return options.render_fault({404, "There is nothing at " + log::safe(request.path) + "."}, path_);
      HttpResponse response = options.render_fault(
          {405, "The method " + request.method + " is not allowed here; use " + match.allowed + "."}, path_);
      response.headers.add("Allow", match.allowed);
      return response;
    }
    if (!match.route->always_answered && shared_->connections > options.max_connections) {
      close_after_ = true;
      return options.render_fault(
          {503, "The server has all the connections it wants (--max-connections); try again soon."}, path_);
    }
    if (options.admit) return options.admit(request, *match.route);
    return std::nullopt;
  }

  // False: answered with a fault, or the client is gone.
  asio::awaitable<bool> read_body(const ListenOptions& options) {
    if (parser_.request().expects_continue && !parser_.body_is_empty() && ahead_.empty()) {
      const bool sent = co_await write_out({"HTTP/1.1 100 Continue\r\n\r\n", {}, {}});
      if (!sent) co_return false;
    }
    auto deadline = steady_clock::now() + options.body_timeout;
    while (parser_.state() == RequestParser::State::kBody) {
      if (!ahead_.empty() || parser_.body_is_empty()) {
        consume();
        deadline = steady_clock::now() + options.body_timeout;
        if (!hold_body(parser_.request().body.size())) {
          const HttpFault fault{503,
                                "The server holds as many bytes of request bodies as it wants "
                                "(--max-buffered-body-bytes); try again soon."};
          co_await refuse(fault);
          co_return false;
        }
        continue;
      }
      if (cut_ || peer_gone_) {
        cut_ = true;
        co_return false;
      }
      const bool news = co_await wait_news(deadline);
      if (!news && steady_clock::now() >= deadline) {
        const HttpFault fault{408, "The request's body did not arrive in time (--body-timeout)."};
        co_await refuse(fault);
        co_return false;
      }
    }
    if (parser_.state() == RequestParser::State::kFailed) {
      co_await refuse(parser_.fault());
      co_return false;
    }
    co_return true;
  }

  asio::awaitable<void> refuse(HttpFault fault) {
    close_after_ = true;
    respond(shared_->options.render_fault(fault, path_));
    co_await flush();
  }

  // Writes what the route and its responder produce until the answer has ended.
  asio::awaitable<void> pump() {
    if (peer_gone_ && !ended_) cut();
    while (!cut_) {
      if (!head_.empty() || !unsent_.empty()) {
        co_await flush();
        if (responder_ != nullptr && unsent_.empty() && !cut_) responder_->sent();
        continue;
      }
      if (ended_) break;
      co_await wait_news(steady_clock::time_point::max());
    }
    if (!cut_ && answered_ && !whole_ && chunked_) {
      const bool sent = co_await write_out({"0\r\n\r\n", {}, {}});
      if (!sent) cut();
    }
  }

  asio::awaitable<bool> write_out(Transport::Parts parts) {
    return transport_->write_all(parts, shared_->options.write_timeout);
  }

  // One write of all there is.
  asio::awaitable<void> flush() {
    std::string head = std::exchange(head_, {});
    const std::string body = std::exchange(unsent_, {});
    bool sent = false;
    if (!whole_ && chunked_ && !body.empty() && request_method_ != "HEAD") {
      char size[24];
      std::snprintf(size, sizeof size, "%zx\r\n", body.size());
      head += size;
      sent = co_await write_out({head, body, "\r\n"});
    } else if (request_method_ == "HEAD") {
      sent = co_await write_out({head, {}, {}});
    } else {
      sent = co_await write_out({head, body, {}});
    }
    if (!sent) cut();
  }

  // After the last answer: lets it reach a client that is still sending (a close with unread bytes would
  // reset it away).
  asio::awaitable<void> linger() {
    lingering_ = true;
    ahead_.clear();
    room_.cancel();
    const auto deadline = steady_clock::now() + kLinger;
    while (!peer_gone_ && !cut_ && steady_clock::now() < deadline) co_await wait_news(deadline);
  }

  // ---- small things ----
  void consume() {
    const size_t used = parser_.feed(ahead_);
    ahead_.erase(0, used);
    if (ahead_.empty() && ahead_.capacity() > 4096) std::string().swap(ahead_);
    room_.cancel();
  }

  void tell() {
    news_seen_ = true;
    news_.cancel();
  }
  // True when something happened, false at the deadline.
  asio::awaitable<bool> wait_news(steady_clock::time_point deadline) {
    if (!news_seen_) {
      news_.expires_at(deadline);
      co_await news_.async_wait(kToken);
    }
    co_return std::exchange(news_seen_, false);
  }

  bool hold_body(size_t bytes) {
    if (bytes <= held_body_bytes_) return true;
    const size_t more = bytes - held_body_bytes_;
    held_body_bytes_ = bytes;
    return shared_->body_bytes.fetch_add(more) + more <= shared_->options.max_buffered_body_bytes;
  }
  void release_body() {
    shared_->body_bytes -= held_body_bytes_;
    held_body_bytes_ = 0;
  }

  void close() {
    transport_->close();
    room_.cancel();
  }

  std::string make_head(const HttpResponse& response, bool whole) {
    chunked_ = !whole && minor_version_ == 1;
    if ((!whole && !chunked_) || shared_->draining) close_after_ = true;
    AnswerHead head;
    head.request_id = request_id_;
    head.traceparent = traceparent_;
    head.more = &cross_origin_;
    head.content_bytes = whole ? std::optional<size_t>(response.body.size()) : std::nullopt;
    head.chunked = chunked_;
    head.close = close_after_;
    return write_answer_head(response, head);
  }

  void record() {
    if (!shared_->options.on_exchange) return;
    ExchangeRecord record;
    record.route = route_ != nullptr ? std::string_view(route_->pattern) : "unmatched";
    record.method = closed_method(request_method_);
    record.status = answered_ ? status_ : 499;
    record.duration = steady_clock::now() - arrived_;
    shared_->options.on_exchange(record);
  }

  const std::shared_ptr<Listener::Shared> shared_;
  SessionSet& set_;
  const std::shared_ptr<Transport> transport_;
  RequestParser parser_;
  std::string ahead_;        // read, not yet parsed
  asio::steady_timer news_;  // the serving coroutine sleeps on it
  asio::steady_timer room_;  // the reading coroutine sleeps on it when ahead_ is full
  bool news_seen_ = false;
  bool peer_gone_ = false;  // no more bytes will come
  bool cut_ = false;        // nothing more can be sent
  bool lingering_ = false;
  bool timed_out_ = false;
  const bool opened_in_drain_;

  // the request being answered
  const Route* route_ = nullptr;
  std::shared_ptr<Responder> responder_;
  std::string request_method_, request_id_, traceparent_, path_;
  std::string peer_name_;  // of the client's certificate
  HeaderList cross_origin_;
  int minor_version_ = 1;
  steady_clock::time_point arrived_;
  size_t held_body_bytes_ = 0;
  bool busy_ = false;
  bool answering_ = false;  // its body is read whole, and a route works on it
  bool close_after_ = false;

  // its answer
  std::string head_, unsent_;
  int status_ = 0;
  bool answered_ = false;  // respond or begin was called
  bool whole_ = false;     // by respond
  bool ended_ = false;
  bool chunked_ = false;
};

void start_session(std::shared_ptr<Listener::Shared> shared, SessionSet& set, tcp::socket socket) {
  std::make_shared<Session>(std::move(shared), set, std::move(socket))->start();
}

void close_sessions(SessionSet& set) {
  set.closing = true;
  const std::vector<Session*> sessions(set.sessions.begin(), set.sessions.end());
  for (Session* session : sessions) session->cut();
}

void wake_sessions(SessionSet& set) {
  for (Session* session : set.sessions) session->wake();
}

}  // namespace sluice
