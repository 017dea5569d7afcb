#include "server/net/cross_origin.h"

#include <algorithm>

namespace sluice {
namespace {

bool has(const std::vector<std::string>& list, std::string_view entry) {
  return std::find(list.begin(), list.end(), entry) != list.end();
}

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& entry : list) out += (out.empty() ? "" : ", ") + entry;
  return out;
}

}  // namespace

HeaderList cross_origin_headers(const CrossOriginOptions& options, const HttpRequest& request) {
  HeaderList headers;
  if (options.allowed_origins.empty()) return headers;
  const bool all = has(options.allowed_origins, "*");
  if (!all || options.allow_credentials) headers.add("Vary", "Origin");  // for caches between
  const std::string* origin = request.headers.find("origin");
  if (origin == nullptr || !(all || has(options.allowed_origins, *origin))) return headers;
  // With credentials a browser does not take the star.
  headers.add("Access-Control-Allow-Origin", all && !options.allow_credentials ? "*" : *origin);
  if (options.allow_credentials) headers.add("Access-Control-Allow-Credentials", "true");
  headers.add("Access-Control-Expose-Headers", "x-request-id, retry-after");
  return headers;
}

std::optional<HttpResponse> answer_preflight(const CrossOriginOptions& options, const HttpRequest& request) {
  const std::string* method = request.headers.find("access-control-request-method");
  if (request.method != "OPTIONS" || method == nullptr || request.headers.find("origin") == nullptr ||
      options.allowed_origins.empty()) {
    return std::nullopt;
  }
  HttpResponse response;
  response.status = 204;
  response.content_type.clear();
  const std::string* wanted = request.headers.find("access-control-request-headers");
  if (has(options.allowed_methods, "*"))
    response.headers.add("Access-Control-Allow-Methods", *method);
  else
    response.headers.add("Access-Control-Allow-Methods", joined(options.allowed_methods));
  if (!has(options.allowed_headers, "*"))
    response.headers.add("Access-Control-Allow-Headers", joined(options.allowed_headers));
  else if (wanted != nullptr)
    response.headers.add("Access-Control-Allow-Headers", *wanted);
  response.headers.add("Access-Control-Max-Age", "600");
  return response;
}

}  // namespace sluice
