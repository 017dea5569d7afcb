// One HTTP or HTTPS exchange with a server of the world: certificates verified, every wait bounded, through a
// proxy when the options name one. Blocking; any thread, several at once; what the request brings along is
// called on another thread meanwhile. Knows nothing of redirects or models.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/result.h"
#include "server/net/url.h"

namespace sluice {

struct HttpClientOptions {
  std::string http_proxy, https_proxy;  // URLs; empty: none
  std::string no_proxy;                 // host suffixes, comma-separated; "*": never use a proxy
  std::string ca_file;                  // trusted in place of the system's certificates; empty: those
  bool checks_server = true;            // false: whoever answers an https URL is believed
  std::string user_agent = "sluice";
  std::chrono::milliseconds connect_timeout{15000};
  std::chrono::milliseconds stall_timeout{30000};  // without a byte from the server
};

struct ClientResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; repeated ones joined by ", "
  std::string body;
};

struct ClientRequest {
  std::string method = "GET";
  Url url;
  std::map<std::string, std::string> headers;
  std::string body;                            // of a POST: sent with its length
  int64_t max_body_bytes = int64_t{64} << 20;  // of a body that is kept
  // When set, sees the answer before the first byte of its body; an error ends the exchange.
  std::function<Status(const ClientResponse& head)> on_head;
  // When set, the body of a 2xx answer goes here instead of being kept; an error ends the exchange.
  std::function<Status(std::string_view piece)> sink;
};

// kIo with the URL (without its query) and what failed.
Result<ClientResponse> http_exchange(const ClientRequest& request, const HttpClientOptions& options);

}  // namespace sluice
