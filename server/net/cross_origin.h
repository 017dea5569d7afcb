// Which pages of other origins may use this server from a browser: the CORS protocol
// (https://fetch.spec.whatwg.org/#http-cors-protocol). Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/net/http_message.h"

namespace sluice {

struct CrossOriginOptions {
  std::vector<std::string> allowed_origins;  // empty: no page of another origin; "*": all
  std::vector<std::string> allowed_methods{"*"};
  std::vector<std::string> allowed_headers{"*"};
  bool allow_credentials = false;
};

// What every answer to `request` carries; nothing for a request from no page or a page that may not.
HeaderList cross_origin_headers(const CrossOriginOptions& options, const HttpRequest& request);
// The answer to a preflight; none: `request` is not one, or nothing is allowed here at all.
std::optional<HttpResponse> answer_preflight(const CrossOriginOptions& options, const HttpRequest& request);

}  // namespace sluice
