// What is sent to a replica: the client's head without what belongs to its own connection, and its body with
// nothing changed but what must be. Pure; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "router/io/body_scan.h"
#include "server/net/http_message.h"

namespace sluice::router {

// Fields that must stand in the body beside the client's own.
struct BodyChanges {
  std::string_view model;         // in place of its alias; empty: as it is
  bool token_ids = false;         // return_token_ids: what continuation lives on
  std::optional<uint64_t> seed;   // where the client gave none
  std::span<const int32_t> told;  // continue_tokens: go on behind them
  bool any() const { return !model.empty() || token_ids || seed || !told.empty(); }
};
std::string change_body(std::string_view body, const BodyScan& scan, const BodyChanges& changes);

// Where a request goes: a replica's own part of its head.
struct Destination {
  std::string_view authority, base_path;
  // None: the client's own key is passed on. Else this one stands in its place, or none where it is empty.
  std::optional<std::string_view> key = std::nullopt;
};

// `body_bytes`: none for a request without a body.
std::string request_head(const HttpRequest& request, const Destination& destination,
                         std::optional<size_t> body_bytes);

// Whether a header belongs to one connection, or is written anew by whoever passes a message on
// (RFC 9110, 7.6.1). `name` in lower case.
bool stays_behind(std::string_view name);

}  // namespace sluice::router
