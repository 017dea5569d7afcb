// One side of one TLS connection over a non-blocking socket (RFC 8446, RFC 5246). Never blocks and
// never waits: it says what to wait for. Owns the TLS state, not the socket, which must be open at every
// call. The connection's I/O thread only. Internal to server/net.
#pragma once

#include <openssl/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct ssl_session_st;  // OpenSSL's SSL_SESSION, which its types.h does not name

namespace sluice {

class TlsStream {
 public:
  enum class Next : uint8_t {
    kGoOn,
    kWaitReadable,  // before the same call again; also of a write
    kWaitWritable,  // likewise; also of a read
    kEnded,         // the peer said goodbye, broke the protocol, or is gone: no call helps any more
  };
  struct Step {
    size_t bytes = 0;  // moved, also when `next` is kEnded
    Next next = Next::kGoOn;
  };
  // A record's content, the most that one read or write moves (RFC 8446, 5.1).
  static constexpr size_t kRecordBytes = 16384;

  // Null when there is no memory for it.
  static std::unique_ptr<TlsStream> accept(SSL_CTX* settings, int descriptor);
  // The client's side. The server's certificate must be for `host`, a name or an address, unless the settings
  // check none. `session`: of an earlier connection to it, or null.
  static std::unique_ptr<TlsStream> connect(SSL_CTX* settings, int descriptor, const std::string& host,
                                            ssl_session_st* session);
  ~TlsStream();

  // Until it returns kGoOn nothing else may be called.
  Step shake_hands();
  // `room` has at least kRecordBytes. Afterwards nothing that was decrypted is left inside: waiting for the
  // socket is right.
  Step read_some(std::span<char> room);
  // Takes the parts as one text, a record at most. After a wait it must be called with the same bytes again.
  Step write_some(const std::array<std::string_view, 3>& parts);
  // Nothing to read, and the peer has not ended.
  bool is_quiet();
  // The peer said goodbye: what came is all that was sent.
  bool ended_well() const;
  // The client's side, after an answer: for the next connection there; null where the server gave none.
  std::shared_ptr<ssl_session_st> session() const;
  // The handshake was short: the peer took the session of an earlier connection.
  bool was_resumed() const;
  // The common name in the peer's certificate, which the handshake checked; empty: it showed none.
  std::string peer_name() const;
  // Tells the peer that nothing more comes (close_notify), if the socket takes it now.
  void say_goodbye();
  // Why the handshake ended, in OpenSSL's words; empty when the peer just left.
  const std::string& fault() const { return fault_; }

 private:
  struct Freed {
    void operator()(SSL* tls) const;
  };
  explicit TlsStream(SSL* tls) : tls_(tls) {}
  static std::unique_ptr<TlsStream> over(SSL_CTX* settings, int descriptor);
  Next judge(int result);

  std::unique_ptr<SSL, Freed> tls_;
  bool broken_ = false;  // after a fatal error OpenSSL forbids even the goodbye
  std::string fault_;
};

}  // namespace sluice
