// The server's description of itself for GET /openapi.json (OpenAPI 3.1). What it says lies in
// openapi/*.json, in a shorthand that is written out here:
//   "type": "integer?"        an integer or null
//   "$ref?": "…"              what is referred to, or null
//   "maximum": "$max_n"       a limit of this server
//   "description": ["…", "…"] one text
//   an operation's "takes", "gives", "streams": schemas' names for its body and its answer, and whether the
//   answer may come as events; its path's {id}, its errors and whether it wants a key are added.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "server/wire/generation_fields.h"

namespace sluice {

struct DescribedServer {
  std::string version;
  WireLimits limits;
  std::function<bool(const std::string& method, const std::string& path)>
      needs_key;  // "GET", "/v1/models/{id}"
};

std::string openapi_document(const DescribedServer& server);

}  // namespace sluice
