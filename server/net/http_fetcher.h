// The repository's Fetcher over http_client: follows redirects, and lets credentials go no further than the
// host they were meant for. Any thread, several at once.
#pragma once

#include "models/repository.h"
#include "server/net/http_client.h"

namespace sluice {

class HttpFetcher final : public Fetcher {
 public:
  explicit HttpFetcher(HttpClientOptions options) : options_(std::move(options)) {}
  Result<FetchResponse> fetch(const FetchRequest& request) override;

 private:
  const HttpClientOptions options_;
};

}  // namespace sluice
