#include "server/net/http_fetcher.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr int kMaxRedirects = 10;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

void drop_credentials(std::map<std::string, std::string>& headers) {
  for (auto it = headers.begin(); it != headers.end();) {
    std::string name = it->first;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    it = name == "authorization" || name == "cookie" ? headers.erase(it) : std::next(it);
  }
}

}  // namespace

Result<FetchResponse> HttpFetcher::fetch(const FetchRequest& request) {
  ClientRequest step;
  step.method = request.method;
  step.headers = request.headers;
  step.max_body_bytes = request.max_body_bytes;
  step.sink = request.sink;
  const auto leads_on = [&](const ClientResponse& head) {
    return request.follow_redirects && is_redirect(head.status) && head.headers.contains("location");
  };
  if (request.on_head) {
    step.on_head = [&](const ClientResponse& head) {
      if (leads_on(head)) return Status();
      return request.on_head(FetchResponse{head.status, head.headers, "", step.url.text()});
    };
  }
  SLUICE_ASSIGN(step.url, parse_url(request.url));
  for (int redirects = 0;; ++redirects) {
    SLUICE_ASSIGN(ClientResponse response, http_exchange(step, options_));
    if (!leads_on(response)) {
      return FetchResponse{response.status, std::move(response.headers), std::move(response.body),
                           step.url.text()};
    }
    if (redirects == kMaxRedirects) {
      return Error{ErrorCode::kIo,
                   "Fetching " + step.url.without_query() + " failed: more than 10 redirects."};
    }
    SLUICE_ASSIGN(Url next, resolve_url(step.url, response.headers.at("location")));
    if (step.url.scheme == "https" && next.scheme == "http") {
      return Error{ErrorCode::kIo, "Fetching " + step.url.without_query() +
                                       " failed: it redirects from https to plain http."};
    }
    if (!next.same_origin(step.url)) drop_credentials(step.headers);
    step.url = std::move(next);
  }
}

}  // namespace sluice
