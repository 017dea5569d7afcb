// One connection's bytes, whether they travel plainly or through TLS: read and written without blocking, each
// wait bounded, closed from anywhere on its I/O thread. Knows nothing of HTTP but how its first byte looks.
// Internal to server/net.
#pragma once

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "server/net/tls_identity.h"
#include "server/net/tls_trust.h"

namespace sluice {

class TlsStream;

class Transport : public std::enable_shared_from_this<Transport> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  // What a read brought. Bytes and the end may come together.
  struct Reading {
    size_t bytes = 0;
    bool ended = false;                          // the peer closed, or the connection broke
    Socket::wait_type next = Socket::wait_read;  // what to wait for before the next read
  };
  using Parts = std::array<std::string_view, 3>;  // sent end to end

  enum class Greeting : uint8_t {
    kReady,
    kPlainText,  // someone speaks HTTP without TLS; from now on so does this transport
    kFailed,     // no TLS came of it; what still arrives is read as plain bytes
  };

  explicit Transport(Socket socket);
  ~Transport();

  // Before anything else, where bytes travel through TLS: the handshake, all of it within `patience`.
  boost::asio::awaitable<Greeting> greet(const TlsIdentity& identity, std::chrono::milliseconds patience);
  // The client's side of the same. Empty when all went well, else why not; then only close() may follow.
  boost::asio::awaitable<std::string> greet(TlsTrust& trust, const std::string& host, const TlsTicket& ticket,
                                            std::chrono::milliseconds patience);

  auto get_executor() { return socket_.get_executor(); }

  // Completes when a read may bring something, or with an error when the connection was closed.
  auto ready(Socket::wait_type readiness) {
    return socket_.async_wait(readiness, boost::asio::as_tuple(boost::asio::use_awaitable));
  }
  // `room` has at least 16 KiB.
  Reading read_some(std::span<char> room);

  // After a read that ended: the peer said so itself (in TLS; a plain end says nothing), so nothing was cut
  // off.
  bool ended_well() const;
  // Null where bytes travel plainly.
  const TlsStream* tls() const { return tls_.get(); }

  // Nothing to read, and the peer has not closed: a kept connection may be used again.
  bool is_quiet();

  // True when all bytes went to the kernel; false when the peer took none for `patience`, or is gone. One at
  // a time.
  boost::asio::awaitable<bool> write_all(Parts parts, std::chrono::milliseconds patience);

  // Tells the peer that nothing more will be sent; reading goes on.
  void shutdown_send();
  // Whoever waits on the connection wakes up with an error.
  void close();

 private:
  struct Writing {
    size_t bytes = 0;
    bool broken = false;
    bool later = false;  // after waiting for `next`
    Socket::wait_type next = Socket::wait_write;
  };
  Writing write_some(const Parts& parts);
  boost::asio::awaitable<Greeting> accept_tls(const TlsIdentity& identity);
  boost::asio::awaitable<bool> shake_hands();
  boost::asio::awaitable<bool> wait_for(Socket::wait_type readiness, std::chrono::milliseconds patience);
  void set_deadline(std::chrono::milliseconds patience);
  void clear_deadline();

  Socket socket_;
  std::unique_ptr<TlsStream> tls_;  // null: plain
  boost::asio::steady_timer deadline_;
  uint64_t deadline_turn_ = 0;
};

}  // namespace sluice
