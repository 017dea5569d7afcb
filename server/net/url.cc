#include "server/net/url.h"

#include <algorithm>

#include "base/log.h"

namespace sluice {
namespace {

Error bad_url(std::string_view text, const char* why) {
  return invalid_argument("url",
                          "'" + log::safe(text) + "' is not a URL this program can fetch: " + why + ".");
}

uint16_t default_port(std::string_view scheme) {
  return scheme == "https" ? 443 : 80;
}

}  // namespace

std::string Url::authority() const {
  std::string out = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != default_port(scheme)) out += ":" + std::to_string(port);
  return out;
}

std::string Url::without_query() const {
  return scheme + "://" + authority() + target.substr(0, target.find('?'));
}

std::string Url::text() const {
  return scheme + "://" + authority() + target;
}

Result<Url> parse_url(std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!plain) return bad_url(text, "it contains spaces, control characters or characters outside ASCII");
  Url url;
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return bad_url(text, "it does not begin with http:// or https://");
  url.scheme = std::string(text.substr(0, colon));
  std::transform(url.scheme.begin(), url.scheme.end(), url.scheme.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (url.scheme != "http" && url.scheme != "https")
    return bad_url(text, "it does not begin with http:// or https://");
  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t end = rest.find_first_of("/?");
  std::string_view authority = rest.substr(0, end);
  url.target = end == std::string_view::npos ? "/" : std::string(rest.substr(end));
  if (url.target.front() == '?') url.target.insert(0, "/");
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) {
    url.user_info = std::string(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  std::string_view port;
  if (authority.starts_with("[")) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad_url(text, "its host has no closing bracket");
    url.host = std::string(authority.substr(1, close - 1));
    port = authority.substr(close + 1);
  } else {
    const size_t mark = authority.find(':');
    url.host = std::string(authority.substr(0, mark));
    port = mark == std::string_view::npos ? std::string_view() : authority.substr(mark);
  }
  std::transform(url.host.begin(), url.host.end(), url.host.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (url.host.empty()) return bad_url(text, "it names no host");
  url.port = default_port(url.scheme);
  if (!port.empty() && port != ":") {
    const std::string_view digits = port.substr(1);
    const bool number =
        port.front() == ':' && digits.size() <= 5 &&
        std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
    const int value = number ? std::stoi(std::string(digits)) : 0;
    if (value < 1 || value > 65535) return bad_url(text, "its port is not a number from 1 to 65535");
    url.port = static_cast<uint16_t>(value);
  }
  return url;
}

Result<Url> resolve_url(const Url& base, std::string_view reference) {
  if (reference.find("://") != std::string_view::npos &&
      reference.find("://") < reference.find_first_of("/?#")) {
    return parse_url(reference);
  }
  if (reference.starts_with("//")) return parse_url(base.scheme + ":" + std::string(reference));
  std::string target;
  if (reference.starts_with("/")) {
    target = std::string(reference);
  } else if (reference.starts_with("?")) {
    target = base.target.substr(0, base.target.find('?')) + std::string(reference);
  } else {
    const std::string path = base.target.substr(0, base.target.find('?'));
    target = path.substr(0, path.rfind('/') + 1) + std::string(reference);
  }
  return parse_url(base.scheme + "://" + base.authority() + target);
}

}  // namespace sluice
