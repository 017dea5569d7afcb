#include "models/model_name.h"

#include <algorithm>
#include <filesystem>

#include "base/log.h"

namespace sluice {
namespace {

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// The hub's own rule for an organisation's or a model's name; "--" separates the parts of a cache folder's
// name.
bool is_repository_part(std::string_view part) {
  if (part.empty() || part.size() > 96 || !is_alphanumeric(part.front()) || !is_alphanumeric(part.back()))
    return false;
  if (part.find("--") != std::string_view::npos || part.find("..") != std::string_view::npos) return false;
  return std::all_of(part.begin(), part.end(),
                     [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_repository(std::string_view name) {
  const size_t slash = name.find('/');
  return slash != std::string_view::npos && is_repository_part(name.substr(0, slash)) &&
         is_repository_part(name.substr(slash + 1));
}

// What git allows, and is a safe path below refs/ of the cache.
bool is_revision(std::string_view revision) {
  return revision.size() <= 200 && is_safe_relative_path(revision) && revision.front() != '-' &&
         std::all_of(revision.begin(), revision.end(), [](char c) {
           return is_alphanumeric(c) || c == '-' || c == '_' || c == '.' || c == '/' || c == '+';
         });
}

Error not_a_model(const std::string& model, const std::string& why) {
  return invalid_argument(
      "model",
      "'" + log::safe(model) + "' " + why +
          " A model is a .gguf file or a model directory, a repository of the hub as org/name or "
          "org/name@revision, hf://org/name[@revision][/file.gguf], or the http(s) URL of a .gguf file.");
}

// rest: "org/name[@revision][/file]"
Result<HubName> parse_hub_name(const std::string& model, std::string_view rest, bool may_name_file) {
  HubName name;
  const size_t org_end = rest.find('/');
  if (org_end == std::string_view::npos)
    return not_a_model(model, "names no repository of the form org/name.");
  const size_t name_end = std::min(rest.find_first_of("@/", org_end + 1), rest.size());
  name.repository = rest.substr(0, name_end);
  if (!is_repository(name.repository))
    return not_a_model(model, "is neither a path here nor the name of a repository.");
  rest.remove_prefix(name_end);
  if (!rest.empty() && rest.front() == '@') {
    rest.remove_prefix(1);
    size_t end = may_name_file ? rest.find('/') : std::string_view::npos;
    if (may_name_file && rest.starts_with("refs/")) {  // refs/pr/1, refs/convert/parquet
      end = rest.find('/', 5);
      if (end != std::string_view::npos) end = rest.find('/', end + 1);
    }
    name.revision = rest.substr(0, end);
    if (!is_revision(name.revision))
      return not_a_model(model, "has a revision that cannot be a branch, a tag or a commit.");
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
  }
  if (rest.empty()) return name;
  rest.remove_prefix(1);
  if (!may_name_file || !rest.ends_with(".gguf") || !is_safe_relative_path(rest)) {
    return not_a_model(model, "has a part behind the repository that is not the name of a .gguf file in it.");
  }
  name.file = rest;
  return name;
}

std::string_view without_query(std::string_view url) {
  return url.substr(0, url.find_first_of("?#"));
}

// "https://hub/org/name/resolve/main/file.gguf" -> its parts; false for URLs of any other form.
bool parse_hub_url(std::string_view url, std::string_view endpoint, HubName& name) {
  while (endpoint.ends_with('/')) endpoint.remove_suffix(1);
  if (endpoint.empty() || !url.starts_with(endpoint) || url.size() <= endpoint.size() ||
      url[endpoint.size()] != '/')
    return false;
  std::string_view rest = without_query(url.substr(endpoint.size() + 1));
  if (rest.find('%') != std::string_view::npos) return false;
  for (const std::string_view verb : {"/resolve/", "/blob/"}) {
    const size_t at = rest.find(verb);
    if (at == std::string_view::npos) continue;
    const std::string_view behind = rest.substr(at + verb.size());
    const size_t slash = behind.find('/');
    if (slash == std::string_view::npos) return false;
    name = {std::string(rest.substr(0, at)), std::string(behind.substr(0, slash)),
            std::string(behind.substr(slash + 1))};
    return is_repository(name.repository) && is_revision(name.revision) && is_safe_relative_path(name.file);
  }
  return false;
}

}  // namespace

Result<ModelName> parse_model_name(const std::string& model, const std::string& endpoint) {
  ModelName name;
  name.text = model;
  if (model.empty()) return not_a_model(model, "is empty.");
  if (model.starts_with("http://") || model.starts_with("https://")) {
    if (!without_query(model).ends_with(".gguf"))
      return not_a_model(public_url(model), "does not end in .gguf.");
    if (std::any_of(model.begin(), model.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; })) {
      return not_a_model(public_url(model), "has a blank or a control character in it.");
    }
    name.kind = parse_hub_url(model, endpoint, name.hub) ? ModelName::Kind::kHub : ModelName::Kind::kUrl;
    return name;
  }
  if (model.starts_with("hf://")) {
    name.kind = ModelName::Kind::kHub;
    SLUICE_ASSIGN(name.hub, parse_hub_name(model, std::string_view(model).substr(5), /*may_name_file=*/true));
    return name;
  }
  std::error_code error;
  if (std::filesystem::exists(model, error)) return name;
  const bool looks_like_path = model.starts_with('/') || model.starts_with('.') || model.ends_with(".gguf") ||
                               model.find('/') == std::string::npos;
  if (looks_like_path)
    return Error{ErrorCode::kNotFound, not_a_model(model, "is not there.").message, "model"};
  name.kind = ModelName::Kind::kHub;
  SLUICE_ASSIGN(name.hub, parse_hub_name(model, model, /*may_name_file=*/false));
  return name;
}

bool is_safe_relative_path(std::string_view path) {
  if (path.empty() || path.size() > 1024) return false;
  if (std::any_of(path.begin(), path.end(),
                  [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; }))
    return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part.front() == '.' || part.size() > 255) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool is_commit(std::string_view revision) {
  return revision.size() == 40 && revision.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string percent_encode(std::string_view text, bool keep_slashes) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_alphanumeric(c) || c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && keep_slashes)) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::string public_url(std::string_view url) {
  url = without_query(url);
  const size_t host = url.find("://");
  if (host == std::string_view::npos) return std::string(url);
  const size_t authority_end = std::min(url.find('/', host + 3), url.size());
  const size_t at = url.substr(0, authority_end).rfind('@');
  if (at == std::string_view::npos) return std::string(url);
  return std::string(url.substr(0, host + 3)) + std::string(url.substr(at + 1));
}

}  // namespace sluice
