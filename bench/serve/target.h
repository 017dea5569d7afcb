// Whom to load: a server that speaks OpenAI's API, and what every request to it has in common. A value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "bench/serve/lexicon.h"
#include "server/net/http_client.h"
#include "server/net/tls_trust.h"
#include "server/net/url.h"

namespace sluice::bench {

enum class Endpoint : uint8_t { kChat, kCompletions, kResponses, kEmbeddings };

struct Target {
  Url url;  // scheme, host and port, and a path before the endpoint's, without a slash behind
  std::string endpoint_path;  // "/v1/chat/completions"
  Endpoint endpoint = Endpoint::kChat;
  std::string model;
  std::vector<std::pair<std::string, std::string>> headers;  // beside Host, Content-Type and the length
  std::shared_ptr<TlsTrust> tls;
  std::string ca_file;
  bool checks_server = true;

  std::string full_url() const;
};

// By the end of its path; kInvalidArgument when that tells nothing.
Result<Endpoint> endpoint_of(std::string_view path);
std::string_view name_of(Endpoint endpoint);

// One question before the load, waited for. The error's message is a whole sentence.
Result<ClientResponse> ask(const Target& target, const std::string& path, std::string body);

// The models it serves. An error when nobody answers or what answers is no such API.
Result<std::vector<std::string>> served_models(const Target& target);
// /tokenize, as vLLM and Sluice have it.
Result<std::vector<int32_t>> ask_tokens(const Target& target, const TokenQuestion& question);

}  // namespace sluice::bench
