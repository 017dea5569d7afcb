// What MODEL on the command line names: a path, a repository of a hub, or the URL of a GGUF. Pure text; any
// thread. Also the judgement of names that a server sends: which of them may become a path on this machine.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice {

struct HubName {
  std::string repository;         // "org/name"
  std::string revision = "main";  // branch, tag or commit
  std::string file;               // of a GGUF within it; empty: the whole model
};

struct ModelName {
  enum class Kind { kPath, kHub, kUrl } kind = Kind::kPath;
  std::string text;  // the path or the URL
  HubName hub;
};

// A URL below `endpoint` that names a file of the hub (…/org/name/resolve/main/file.gguf) is that file.
// kInvalidArgument says what a name looks like.
Result<ModelName> parse_model_name(const std::string& model, const std::string& endpoint);

// A relative path of plain components: no "..", no empty or hidden one, no control characters, no backslash.
bool is_safe_relative_path(std::string_view path);
// 40 lower-case hexadecimal digits.
bool is_commit(std::string_view revision);
// Percent-encodes all but unreserved characters (RFC 3986, section 2.3), and '/' too unless `keep_slashes`.
std::string percent_encode(std::string_view text, bool keep_slashes);
// Without user, password, query and fragment: fit for a message or a log line.
std::string public_url(std::string_view url);

}  // namespace sluice
