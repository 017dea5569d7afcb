#include "router/io/outgoing.h"

#include <algorithm>

#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

// Beside them: what is ours to say to replicas.
constexpr std::string_view kOurs[] = {"host", "expect", "x-request-id", "x-sluice-explain",
                                      "accept-encoding"};

}  // namespace

bool stays_behind(std::string_view name) {
  constexpr std::string_view kNames[] = {"connection",
                                         "content-length",
                                         "keep-alive",
                                         "te",
                                         "trailer",
                                         "transfer-encoding",
                                         "upgrade",
                                         "proxy-connection",
                                         "proxy-authenticate",
                                         "proxy-authorization"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

std::string request_head(const HttpRequest& request, const Destination& destination,
                         std::optional<size_t> body_bytes) {
  std::string head;
  head.reserve(512);
  head.append(request.method).append(" ").append(destination.base_path).append(request.path);
  if (!request.query.empty()) head.append("?").append(request.query);
  head.append(" HTTP/1.1\r\nHost: ")
      .append(destination.authority)
      .append("\r\nx-request-id: ")
      .append(request.request_id);
  // Streams are read on their way; whoever compresses them would hide them.
  head.append("\r\nAccept-Encoding: identity\r\n");
  const bool other_key = destination.key.has_value();
  if (other_key && !destination.key->empty()) {
    head.append("Authorization: Bearer ").append(*destination.key).append("\r\n");
  }
  for (const auto& [name, value] : request.headers) {
    if (other_key && (name == "authorization" || name == "x-api-key")) continue;
    if (stays_behind(name) || std::ranges::find(kOurs, name) != std::end(kOurs)) continue;
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (body_bytes) head.append("Content-Length: ").append(std::to_string(*body_bytes)).append("\r\n");
  return head.append("\r\n");
}

std::string change_body(std::string_view body, const BodyScan& scan, const BodyChanges& changes) {
  std::string front;  // new members go before the client's: of equal names the last counts, and that is his
  const auto add = [&](std::string_view name, std::string_view value) {
    front.append("\"").append(name).append("\":").append(value).append(",");
  };
  std::vector<Splice> splices;
  const auto replace = [&](std::string_view old, std::string value) {
    splices.push_back({static_cast<size_t>(old.data() - body.data()), old.size(), std::move(value)});
  };
  if (!changes.model.empty()) {
    std::string name;
    append_json_string(name, changes.model);
    if (scan.model_text.empty())
      add("model", name);
    else
      replace(scan.model_text, name);
  }
  if (changes.token_ids && !scan.returns_token_ids) {
    if (scan.token_ids_text.empty())
      add("return_token_ids", "true");
    else
      replace(scan.token_ids_text, "true");
  }
  if (changes.seed) {
    if (scan.seed_text.empty())
      add("seed", std::to_string(*changes.seed));
    else
      replace(scan.seed_text, std::to_string(*changes.seed));
  }
  if (!changes.told.empty()) {
    std::string ids = "[";
    for (const int32_t id : changes.told) ids.append(std::to_string(id)).append(",");
    ids.back() = ']';
    add("continue_tokens", ids);
  }
  if (!front.empty()) {
    if (scan.is_empty) front.pop_back();
    splices.push_back({scan.members_at, 0, std::move(front)});
  }
  std::ranges::sort(splices, {}, &Splice::at);
  return splice(body, splices);
}

}  // namespace sluice::router
