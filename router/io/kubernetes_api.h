// The router's line to Kubernetes' API server: where it is, by which certificates it is known, and with which
// token we come. Shared by whatever asks it for something. One I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "router/io/fetch.h"
#include "server/net/io_threads.h"
#include "server/net/tls_trust.h"
#include "server/net/upstream.h"
#include "server/net/url.h"

namespace sluice::router {

struct KubernetesApiOptions {
  Url url;
  std::shared_ptr<TlsTrust> tls;  // where that is https
  std::string token_file;         // a bearer token, read again as it changes; empty: none
};

class KubernetesApi {
 public:
  // `io` outlives it, and it outlives what is asked.
  KubernetesApi(IoThread& io, KubernetesApiOptions options);

  using Done = std::function<void(Fetch::Answer)>;
  // As Fetch; an Error when there is no token to come with, and then `done` is not called.
  Result<std::unique_ptr<Fetch>> get(const std::string& target, size_t max_bytes, Done done);
  // A JSON merge patch (RFC 7386).
  Result<std::unique_ptr<Fetch>> patch(const std::string& target, const std::string& merge, Done done);

  Result<std::string> read_token() const;
  Upstream& upstream() { return upstream_; }
  const KubernetesApiOptions& options() const { return options_; }

 private:
  const KubernetesApiOptions options_;
  Upstream upstream_;
};

// What an answer that is no success says: "403: pods is forbidden: …", or why there was none.
std::string trouble_of(const Fetch::Answer& answer);

// For paths and queries: everything but letters, digits and -._~ becomes %XX (RFC 3986).
std::string percent_encoded(std::string_view text);

}  // namespace sluice::router
