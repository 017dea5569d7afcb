#include "bench/serve/target.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "server/wire/json_out.h"

namespace sluice::bench {
namespace {

constexpr std::chrono::seconds kPatience{20};
constexpr size_t kMaxModels = 10'000;

// What stands before /v1 in the endpoint's path: a gateway's prefix, usually nothing.
std::string root_of(const Target& target) {
  const size_t version = target.endpoint_path.rfind("/v1/");
  return version == std::string::npos ? "" : target.endpoint_path.substr(0, version);
}

std::string said_by(const ClientResponse& answer) {
  const auto json = nlohmann::json::parse(answer.body, nullptr, false);
  if (json.is_object() && json.contains("error")) {
    const auto& error = json["error"];
    if (error.is_object() && error.contains("message") && error["message"].is_string())
      return ": " + log::safe(error["message"].get<std::string>());
  }
  return ".";
}

}  // namespace

std::string Target::full_url() const {
  return url.scheme + "://" + url.authority() + endpoint_path;
}

Result<Endpoint> endpoint_of(std::string_view path) {
  path = path.substr(0, path.find('?'));
  if (path.ends_with("/chat/completions")) return Endpoint::kChat;
  if (path.ends_with("/completions")) return Endpoint::kCompletions;
  if (path.ends_with("/responses")) return Endpoint::kResponses;
  if (path.ends_with("/embeddings")) return Endpoint::kEmbeddings;
  return invalid_argument("endpoint",
                          "--endpoint must end with /chat/completions, /completions, /responses or "
                          "/embeddings; it is '" +
                              log::safe(path) + "'.");
}

std::string_view name_of(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kChat:
      return "openai-chat";
    case Endpoint::kCompletions:
      return "openai";
    case Endpoint::kResponses:
      return "openai-responses";
    case Endpoint::kEmbeddings:
      return "openai-embeddings";
  }
  return "";
}

Result<ClientResponse> ask(const Target& target, const std::string& path, std::string body) {
  ClientRequest request;
  request.method = body.empty() ? "GET" : "POST";
  request.url = target.url;
  request.url.target = path;
  for (const auto& [name, value] : target.headers) request.headers[name] = value;
  if (!body.empty()) request.headers["Content-Type"] = "application/json";
  request.body = std::move(body);
  HttpClientOptions options;
  options.ca_file = target.ca_file;
  options.checks_server = target.checks_server;
  options.user_agent = "sluice-bench";
  options.connect_timeout = options.stall_timeout = kPatience;
  return http_exchange(request, options);
}

Result<std::vector<std::string>> served_models(const Target& target) {
  const std::string path = root_of(target) + "/v1/models";
  SLUICE_ASSIGN(const ClientResponse answer, ask(target, path, ""));
  if (answer.status != 200) {
    return Error{ErrorCode::kNotFound, target.url.scheme + "://" + target.url.authority() + path +
                                           " answered " + std::to_string(answer.status) + said_by(answer)};
  }
  const auto json = nlohmann::json::parse(answer.body, nullptr, false);
  std::vector<std::string> names;
  if (json.is_object() && json.contains("data") && json["data"].is_array()) {
    for (const auto& each : json["data"]) {
      if (each.is_object() && each.contains("id") && each["id"].is_string() && names.size() < kMaxModels)
        names.push_back(each["id"].get<std::string>());
    }
    return names;
  }
  return Error{ErrorCode::kUnsupported, target.url.scheme + "://" + target.url.authority() + path +
                                            " does not list models as OpenAI's API does."};
}

Result<std::vector<int32_t>> ask_tokens(const Target& target, const TokenQuestion& question) {
  std::string body = "{\"model\":";
  append_json_string(body, target.model);
  if (question.is_chat) {
    body += R"(,"messages":[{"role":"user","content":)";
    append_json_string(body, question.text);
    body += "}]";
  } else {
    append_json_member(body, "prompt", question.text);
    append_json_member(body, "add_special_tokens", question.adds_special);
  }
  body += '}';
  SLUICE_ASSIGN(const ClientResponse answer, ask(target, root_of(target) + "/tokenize", std::move(body)));
  const auto json = nlohmann::json::parse(answer.body, nullptr, false);
  if (answer.status != 200 || !json.is_object() || !json.contains("tokens") || !json["tokens"].is_array())
    return Error{ErrorCode::kUnsupported, "it has no /tokenize."};
  std::vector<int32_t> ids;
  for (const auto& each : json["tokens"]) {
    if (!each.is_number_integer()) return Error{ErrorCode::kUnsupported, "its /tokenize tells no ids."};
    ids.push_back(each.get<int32_t>());
  }
  return ids;
}

}  // namespace sluice::bench
