#include "server/net/transport.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>

#include "base/log.h"
#include "server/net/tls_stream.h"

namespace sluice {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

bool means_later(const boost::system::error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

Transport::Socket::wait_type readiness_of(TlsStream::Next next) {
  return next == TlsStream::Next::kWaitWritable ? Transport::Socket::wait_write
                                                : Transport::Socket::wait_read;
}

void drop_sent(Transport::Parts& parts, size_t sent) {
  for (std::string_view& part : parts) {
    const size_t take = std::min(sent, part.size());
    part.remove_prefix(take);
    sent -= take;
  }
}

}  // namespace

Transport::Transport(Socket socket) : socket_(std::move(socket)), deadline_(socket_.get_executor()) {
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

Transport::~Transport() = default;

// ---- the beginning ----

asio::awaitable<Transport::Greeting> Transport::greet(const TlsIdentity& identity, milliseconds patience) {
  set_deadline(patience);
  const Greeting greeting = co_await accept_tls(identity);
  clear_deadline();
  if (greeting != Greeting::kReady) tls_.reset();
  co_return greeting;
}

asio::awaitable<Transport::Greeting> Transport::accept_tls(const TlsIdentity& identity) {
  const auto [failed] = co_await ready(Socket::wait_read);
  if (failed || !socket_.is_open()) co_return Greeting::kFailed;
  // TLS begins with byte 22 (a handshake record), HTTP with a method's letter.
  char first = 0;
  boost::system::error_code error;
  const size_t seen = socket_.receive(asio::buffer(&first, 1), Socket::message_peek, error);
  if (seen == 1 && first >= 'A' && first <= 'Z') co_return Greeting::kPlainText;
  tls_ = identity.accept(socket_.native_handle());
  if (tls_ == nullptr) co_return Greeting::kFailed;
  const bool done = co_await shake_hands();
  if (done) co_return Greeting::kReady;
  log::debug("a TLS handshake failed: {}", tls_->fault().empty() ? "the client left" : tls_->fault());
  co_return Greeting::kFailed;
}

asio::awaitable<std::string> Transport::greet(TlsTrust& trust, const std::string& host,
                                              const TlsTicket& ticket, milliseconds patience) {
  if (!socket_.is_open()) co_return "the connection broke";
  tls_ = trust.connect(socket_.native_handle(), host, ticket);
  if (tls_ == nullptr) co_return "TLS: the host's name cannot be used";
  set_deadline(patience);
  const bool done = co_await shake_hands();
  clear_deadline();
  if (done) co_return std::string();
  if (!socket_.is_open()) co_return "TLS: the handshake took too long";
  co_return "TLS: " + (tls_->fault().empty() ? "the server closed the connection" : tls_->fault());
}

asio::awaitable<bool> Transport::shake_hands() {
  for (;;) {
    const TlsStream::Next next = tls_->shake_hands().next;
    if (next == TlsStream::Next::kGoOn) co_return true;
    if (next == TlsStream::Next::kEnded) co_return false;
    const auto [cut] = co_await ready(readiness_of(next));
    if (cut || !socket_.is_open()) co_return false;
  }
}

// ---- bytes ----

Transport::Reading Transport::read_some(std::span<char> room) {
  if (!socket_.is_open()) return {0, true};
  if (tls_ != nullptr) {
    const TlsStream::Step step = tls_->read_some(room);
    return {step.bytes, step.next == TlsStream::Next::kEnded, readiness_of(step.next)};
  }
  boost::system::error_code error;
  const size_t bytes = socket_.read_some(asio::buffer(room.data(), room.size()), error);
  return {bytes, error && !means_later(error)};
}

bool Transport::ended_well() const {
  return tls_ == nullptr || tls_->ended_well();
}

bool Transport::is_quiet() {
  if (!socket_.is_open()) return false;
  if (tls_ != nullptr) return tls_->is_quiet();
  char byte = 0;
  boost::system::error_code error;
  socket_.receive(asio::buffer(&byte, 1), Socket::message_peek, error);
  return means_later(error);
}

Transport::Writing Transport::write_some(const Parts& parts) {
  if (!socket_.is_open()) return {0, true};
  if (tls_ != nullptr) {
    const TlsStream::Step step = tls_->write_some(parts);
    return {step.bytes, step.next == TlsStream::Next::kEnded, step.next != TlsStream::Next::kGoOn,
            readiness_of(step.next)};
  }
  std::array<asio::const_buffer, 3> buffers;
  for (size_t i = 0; i < parts.size(); ++i) buffers[i] = asio::buffer(parts[i].data(), parts[i].size());
  boost::system::error_code error;
  const size_t bytes = socket_.write_some(buffers, error);
  return {bytes, error && !means_later(error), means_later(error)};
}

asio::awaitable<bool> Transport::write_all(Parts parts, milliseconds patience) {
  for (;;) {
    if (parts[0].size() + parts[1].size() + parts[2].size() == 0) co_return true;
    const Writing writing = write_some(parts);
    if (writing.broken) co_return false;
    drop_sent(parts, writing.bytes);
    if (!writing.later) continue;
    const bool goes_on = co_await wait_for(writing.next, patience);
    if (!goes_on) co_return false;
  }
}

// False when `patience` ran out, which closes the connection, or when it was closed meanwhile.
asio::awaitable<bool> Transport::wait_for(Socket::wait_type readiness, milliseconds patience) {
  set_deadline(patience);
  const auto [failed] = co_await ready(readiness);
  clear_deadline();
  co_return !failed && socket_.is_open();
}

// ---- the end ----

void Transport::shutdown_send() {
  if (!socket_.is_open()) return;
  if (tls_ != nullptr) tls_->say_goodbye();
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Transport::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void Transport::set_deadline(milliseconds patience) {
  const uint64_t turn = ++deadline_turn_;
  deadline_.expires_after(patience);
  deadline_.async_wait([self = shared_from_this(), turn](const boost::system::error_code& error) {
    if (!error && turn == self->deadline_turn_) self->close();
  });
}

void Transport::clear_deadline() {
  ++deadline_turn_;  // a deadline already on its way means nothing any more
  deadline_.cancel();
}

}  // namespace sluice
