// From a request to what the core decides on: the model behind its alias, whose request it is, and its prompt
// as a chain of hashes. Pure but for the seed it is given; any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "router/core/router_core.h"
#include "router/io/body_scan.h"
#include "router/io/model_alias.h"
#include "server/net/http_message.h"

namespace sluice::router {

struct SketchOptions {
  uint64_t secret = 0;  // of this start: chains cannot be aimed at
  ModelAliases aliases;
  std::string tenant_header = "x-sluice-tenant";
  std::string session_header = "x-session-id";
  Seconds first_byte_timeout = 120;  // of a stream
  Seconds request_timeout = 600;     // of an answer in one piece
};

struct SketchSource {
  const HttpRequest& request;
  const BodyScan& scan;
  std::string_view default_model;  // for a request that names none
  std::string_view model = {};     // in place of the one it names; empty: that one
  uint32_t block_tokens = 16;      // of the replicas, for prompts of token ids
  // Whether a replica is ready for the model; asked of names that stand for several.
  std::function<bool(const std::string& model)> has_ready = [](const std::string&) { return true; };
};

// All but the id.
RequestSketch make_sketch(const SketchSource& source, const SketchOptions& options, Seconds now);

}  // namespace sluice::router
