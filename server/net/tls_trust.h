// The client's side of TLS: whose certificates we believe, and who we are to servers that ask. Files that
// change are read anew before the next connection, looked at once a second at most; files that are wrong then
// change nothing and are named in the log. Any thread.
#pragma once

#include <openssl/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/net/file_stamp.h"
#include "server/net/tls_files.h"

struct ssl_session_st;  // OpenSSL's SSL_SESSION, which its types.h does not name

namespace sluice {

class TlsStream;

struct TlsTrustOptions {
  TlsFile authorities;  // PEM, in place of the system's; no path: the system's
  TlsFile certificate,
      key;  // ours, PEM; no path: we show none; no path of the key: it is with the certificate
  bool checks_server = true;  // false: whoever answers is believed
};

// What a server gave to shorten the next handshake with it (RFC 8446, 2.2).
struct TlsTicket {
  std::shared_ptr<ssl_session_st> session;
  uint64_t reading = 0;  // of the files under which the server was believed
};

class TlsTrust {
 public:
  // kInvalidArgument names the flag, the file and what is wrong with it.
  static Result<std::shared_ptr<TlsTrust>> load(TlsTrustOptions options);

  // For a new connection on that socket to a server whose certificate must be for `host`, a name or an
  // address (without brackets); null when there is no memory for it. A ticket from before the files changed
  // is not used.
  std::unique_ptr<TlsStream> connect(int descriptor, const std::string& host, const TlsTicket& ticket);
  // After an answer has come. Without a session where the server gave none.
  TlsTicket ticket_of(const TlsStream& stream) const;

 private:
  struct Freed {
    void operator()(SSL_CTX* settings) const;
  };
  using Settings = std::unique_ptr<SSL_CTX, Freed>;

  explicit TlsTrust(TlsTrustOptions options) : options_(std::move(options)) {}
  static Result<Settings> read(const TlsTrustOptions& options);
  std::vector<FileStamp> stamps() const;
  Status reload();           // under mutex_
  void reload_if_changed();  // likewise

  const TlsTrustOptions options_;
  mutable std::mutex mutex_;  // of all below
  Settings settings_;
  std::vector<FileStamp> stamps_;
  uint64_t reading_ = 0;
  std::chrono::steady_clock::time_point look_at_;
};

}  // namespace sluice
