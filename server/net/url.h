// http and https URLs, taken apart (RFC 3986, what a client needs of it). Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice {

struct Url {
  std::string scheme;  // http or https
  std::string user_info;
  std::string host;  // lower case, without the brackets of an IPv6 address
  uint16_t port = 0;
  std::string target;  // path and query, begins with '/'

  bool same_origin(const Url& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }
  std::string authority() const;      // host[:port], the port only when it is not the scheme's own
  std::string without_query() const;  // for messages: a query may carry a signature
  std::string text() const;
};

Result<Url> parse_url(std::string_view text);
// What a Location header means, seen from `base`.
Result<Url> resolve_url(const Url& base, std::string_view reference);

}  // namespace sluice
