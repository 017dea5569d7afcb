#include "tests/support/fake_hub.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

constexpr const char* kContentHost = "https://content.test/";
constexpr size_t kPieceBytes = 1000;

std::string header(const FetchRequest& request, const char* name) {
  const auto at = request.headers.find(name);
  return at == request.headers.end() ? "" : at->second;
}

}  // namespace

std::string FakeHub::etag_of(const File& file) {
  auto checksum = file.large ? Checksum::sha256() : Checksum::git_blob(file.bytes.size());
  checksum.add(file.bytes);
  return checksum.hex();
}

FakeHub::Answer FakeHub::serve(const std::string& bytes, const FetchRequest& request, const Fault& fault,
                               std::map<std::string, std::string> headers) {
  const std::string& body = fault.bytes ? *fault.bytes : bytes;
  const std::string range = header(request, "Range");
  const std::string validator = header(request, "If-Range");
  const bool same = validator.empty() || validator == headers["etag"];
  if (range.empty() || fault.ignore_range || !same) {
    headers["content-length"] = std::to_string(body.size());
    return {200, headers, body};
  }
  const size_t first = std::stoul(range.substr(6));
  if (first >= body.size()) return {416, headers, ""};
  headers["content-range"] = "bytes " + std::to_string(first) + "-" + std::to_string(body.size() - 1) + "/" +
                             std::to_string(body.size());
  headers["content-length"] = std::to_string(body.size() - first);
  return {206, headers, body.substr(first)};
}

FakeHub::Answer FakeHub::answer_to(const FetchRequest& request, const std::string& url,
                                   const Fault& fault) const {
  if (fault.status != 0) return {fault.status, fault.headers, "no"};
  if (const auto at = plain.find(url); at != plain.end()) {
    std::map<std::string, std::string> headers;
    if (const auto etag = plain_etags.find(url); etag != plain_etags.end()) headers["etag"] = etag->second;
    return serve(at->second, request, fault, headers);
  }
  if (url.starts_with(kContentHost)) {
    for (const auto& [name, file] : files) {
      if (url == kContentHost + etag_of(file)) return serve(file.bytes, request, fault, {});
    }
    return {};
  }
  for (const auto& [old_name, new_name] : renamed) {
    const size_t at = url.find("/" + old_name + "/");
    if (at == std::string::npos || !url.starts_with(kEndpoint)) continue;
    std::string path = url;
    path.replace(at + 1, old_name.size(), new_name);
    return {307, {{"location", path.substr(std::string_view(kEndpoint).size())}}, ""};
  }
  const std::string api = std::string(kEndpoint) + "/api/models/" + repository + "/revision/";
  if (url.starts_with(api)) {
    const std::string revision = url.substr(api.size());
    const bool is_the_commit =
        std::any_of(revisions.begin(), revisions.end(), [&](const auto& r) { return r.second == revision; });
    if (!revisions.contains(revision) && !is_the_commit)
      return {404, {{"x-error-code", "RevisionNotFound"}}, "{}"};
    nlohmann::json siblings = nlohmann::json::array();
    for (const auto& [name, file] : files) siblings.push_back({{"rfilename", name}});
    for (const auto& name : extra_names) siblings.push_back({{"rfilename", name}});
    const std::string commit = is_the_commit ? revision : revisions.at(revision);
    return {200, {}, nlohmann::json{{"sha", commit}, {"siblings", siblings}}.dump()};
  }
  const std::string resolve = std::string(kEndpoint) + "/" + repository + "/resolve/";
  if (!url.starts_with(resolve)) return {401, {{"x-error-code", "RepoNotFound"}}, "{}"};
  const std::string rest = url.substr(resolve.size());
  const auto at = files.find(rest.substr(rest.find('/') + 1));
  if (at == files.end()) return {404, {{"x-error-code", "EntryNotFound"}}, ""};
  const File& file = at->second;
  std::map<std::string, std::string> headers = {{"x-repo-commit", rest.substr(0, rest.find('/'))}};
  if (!file.large) {
    headers["etag"] = "\"" + etag_of(file) + "\"";
    return serve(file.bytes, request, fault, headers);
  }
  headers["x-linked-etag"] = "\"" + etag_of(file) + "\"";
  headers["x-linked-size"] = std::to_string(file.bytes.size());
  headers["location"] = kContentHost + etag_of(file);
  return {302, headers, ""};
}

Result<FetchResponse> FakeHub::fetch(const FetchRequest& request) {
  FetchRequest current = request;
  for (int redirects = 0; redirects < 5; ++redirects) {
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(
          {current.method, current.url, header(current, "Range"), header(current, "Authorization")});
    }
    const Fault fault = this->fault ? this->fault(current).value_or(Fault{}) : Fault{};
    if (fault.network) return Error{ErrorCode::kIo, "the connection was refused."};
    Answer answer = answer_to(current, current.url, fault);
    if (request.follow_redirects && (answer.status == 302 || answer.status == 307)) {
      const std::string& location = answer.headers["location"];
      current.url = location.starts_with('/') ? kEndpoint + location : location;
      if (!current.url.starts_with(kEndpoint)) current.headers.erase("Authorization");
      continue;
    }
    FetchResponse response{answer.status, answer.headers, "", current.url};
    if (request.on_head) SLUICE_TRY(request.on_head(response));
    if (request.method == "HEAD") return response;
    const bool cut = fault.cut_after >= 0 && fault.cut_after < static_cast<int64_t>(answer.body.size());
    const std::string body = cut ? answer.body.substr(0, static_cast<size_t>(fault.cut_after)) : answer.body;
    if (request.sink && answer.status >= 200 && answer.status < 300) {
      for (size_t i = 0; i < body.size(); i += kPieceBytes)
        SLUICE_TRY(request.sink(std::string_view(body).substr(i, kPieceBytes)));
    } else {
      response.body = body;
    }
    if (cut) return Error{ErrorCode::kIo, "the body broke off."};
    return response;
  }
  return Error{ErrorCode::kIo, "too many redirects."};
}

}  // namespace sluice
