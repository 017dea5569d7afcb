// Asks one server of the world, again and again: HTTP/1.1, plainly or through TLS, over connections
// that are kept and used again, the answer told piece by piece as it comes, held back while the asker says
// so, dropped at once when he loses interest. Lives on one I/O thread with everything of it. Knows nothing of
// retries or of what is asked.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/net/http_message.h"
#include "server/net/io_threads.h"
#include "server/net/tls_trust.h"
#include "server/net/url.h"

namespace sluice {

// Through whom to ask. To an https server it is asked for a tunnel (RFC 9110, 9.3.6); for an http one the
// request's own head must have the whole URL and the credentials.
struct UpstreamProxy {
  Url url;
  std::string credentials;  // of Proxy-Authorization; empty: none
};

struct UpstreamOptions {
  std::chrono::milliseconds connect_timeout{2000};
  std::chrono::milliseconds write_timeout{30000};  // without the server taking a byte
  std::chrono::milliseconds idle_timeout{30000};   // of a kept connection; below the server's own
  size_t max_idle = 256;                           // kept connections
  std::shared_ptr<TlsTrust> tls;                   // for https URLs, which need it
  std::optional<UpstreamProxy> proxy;
  std::string server_name;  // what its certificate must be for; empty: the URL's host
};

struct UpstreamRequest {
  std::string head;                         // request line and headers, up to the empty line
  std::shared_ptr<const std::string> body;  // or null
};

// Is told what comes of a request, on the I/O thread; on_end or on_fault is the last it hears. It may destroy
// the call, and itself, within any of these.
class UpstreamSink {
 public:
  virtual ~UpstreamSink() = default;
  virtual void on_sent() {}  // the whole request went to the kernel
  virtual void on_head(int status, HeaderList& headers) = 0;
  virtual void on_piece(std::string_view bytes) = 0;
  virtual void on_end() = 0;
  // Refused, broken, malformed: what happened, for the log.
  virtual void on_fault(std::string_view what) = 0;
};

// A request on its way. Destroying it closes its connection, unless the answer is complete.
class UpstreamCall {
 public:
  virtual ~UpstreamCall() = default;
  // Nothing more is read until resume(); what was read already is still told.
  virtual void pause() = 0;
  virtual void resume() = 0;
};

class Upstream {
 public:
  // `io` outlives it.
  Upstream(IoThread& io, Url url, UpstreamOptions options = {});
  // Kept connections close; calls go on.
  ~Upstream();
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // Nothing is told before this returns. `sink` outlives the call or its end.
  std::unique_ptr<UpstreamCall> send(UpstreamRequest request, UpstreamSink& sink);

  const Url& url() const;
  size_t idle_connections() const;

  struct Pool;

 private:
  std::shared_ptr<Pool> pool_;
};

}  // namespace sluice
