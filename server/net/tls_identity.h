// Who the server is over TLS: a certificate, its key, and whose certificates clients must show, read from
// files (or handed in as texts) and read anew while connections go on. Each connection keeps what it began
// with. Any thread; readings are for one thread at a time.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/net/file_stamp.h"

namespace sluice {

// Named as vLLM and uvicorn name them.
struct TlsOptions {
  std::string certfile;  // --ssl-certfile: PEM, the server's certificate first, then its chain; empty: no TLS
  std::string keyfile;   // --ssl-keyfile: PEM; empty: the key is in the certificate's file
  std::string ca_certs;  // --ssl-ca-certs: PEM; who may sign clients' certificates
  int cert_reqs = 0;     // --ssl-cert-reqs: clients' certificates: 0 not asked for, 1 asked for, 2 required

  // In place of files. PEM.
  std::string certificate_text;               // the certificate and its key; empty: certfile
  std::optional<std::string> authority_text;  // who may sign clients'; empty: nobody; none: ca_certs
};

// kInvalidArgument for options that contradict each other.
Status check(const TlsOptions& options);

class TlsStream;

class TlsIdentity {
 public:
  // kInvalidArgument names the flag, the file and what is wrong with it.
  static Result<std::shared_ptr<TlsIdentity>> load(TlsOptions options);

  // For a new connection on that socket; null when there is no memory for it.
  std::unique_ptr<TlsStream> accept(int descriptor) const;

  // Reads the files again. On an error all stays as it is.
  Status reload();
  // True when the files are other ones than at the last reading, good or bad. Links are followed: a secret of
  // Kubernetes is exchanged by one.
  bool files_changed() const;

  // Other authorities from the next connection on, in place of ca_certs. On an error all stays as it is.
  Status change_authorities(std::string pem);

  // "CN = example.org, valid until Jan  1 00:00:00 2027 GMT".
  std::string describe() const;
  bool expired() const;

 private:
  struct Freed {
    void operator()(SSL_CTX* settings) const;
  };
  using Settings = std::unique_ptr<SSL_CTX, Freed>;

  explicit TlsIdentity(TlsOptions options) : options_(std::move(options)) {}
  static Result<Settings> read(const TlsOptions& options);
  std::vector<FileStamp> stamps() const;

  TlsOptions options_;                  // of whoever reads
  std::vector<FileStamp> read_stamps_;  // of the last reading
  mutable std::mutex mutex_;            // of settings_
  Settings settings_;
};

}  // namespace sluice
