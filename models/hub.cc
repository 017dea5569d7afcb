#include "models/hub.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "models/hub_cache.h"
#include "models/json_fields.h"
#include "models/model_name.h"

namespace sluice {
namespace {

using nlohmann::json;

std::string header(const FetchResponse& answer, const char* name) {
  const auto at = answer.headers.find(name);
  return at == answer.headers.end() ? "" : at->second;
}

int64_t parse_size(const std::string& text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    return -1;
  return std::stoll(text);
}

// W/"abc" -> abc
std::string bare_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return etag;
}

bool is_hex(std::string_view text, size_t length) {
  return text.size() == length && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

Hub::Hub(const RepositoryOptions& options, Fetcher& fetcher, std::string repository)
    : options_(options), fetcher_(fetcher), endpoint_(options.endpoint), repository_(std::move(repository)) {
  while (endpoint_.ends_with('/')) endpoint_.pop_back();
}

std::map<std::string, std::string> Hub::headers() const {
  if (options_.token.empty()) return {};
  return {{"Authorization", "Bearer " + options_.token}};
}

std::string Hub::file_url(const std::string& commit, const std::string& file) const {
  return endpoint_ + "/" + repository_ + "/resolve/" + percent_encode(commit, false) + "/" +
         percent_encode(file, true);
}

Result<HubListing> Hub::list(const std::string& revision, int attempts) const {
  FetchRequest request;
  request.url = endpoint_ + "/api/models/" + repository_ + "/revision/" + percent_encode(revision, false);
  request.headers = headers();
  request.max_body_bytes = HubLimits::kMaxListingBytes;
  SLUICE_ASSIGN(const FetchResponse answer,
                fetch_with_retries(request, fetcher_, {attempts, options_.retry_backoff_ms, nullptr}));
  if (answer.status != 200) return explain(answer, "revision '" + revision + "'");

  const std::string source = public_url(request.url);
  SLUICE_ASSIGN(const json object, parse_json_object(answer.body, source));
  const JsonFields fields(object, source);
  HubListing listing;
  SLUICE_ASSIGN(const auto commit, fields.text("sha"));
  listing.commit = commit.value_or("");
  if (!is_commit(listing.commit))
    return Error{ErrorCode::kIo, "The hub's answer at " + source + " names no commit."};
  const auto* siblings = fields.find("siblings");
  if (siblings == nullptr || !siblings->is_array() || siblings->size() > HubLimits::kMaxFiles) {
    return Error{ErrorCode::kIo, "The hub's answer at " + source + " has no list of files, or one beyond " +
                                     std::to_string(HubLimits::kMaxFiles) + "."};
  }
  for (const auto& sibling : *siblings) {
    if (!sibling.is_object()) continue;
    SLUICE_ASSIGN(const auto name, JsonFields(sibling, source).text("rfilename"));
    if (name && is_safe_relative_path(*name)) listing.files.push_back(*name);
  }
  std::sort(listing.files.begin(), listing.files.end());
  return listing;
}

Result<HubFileFacts> Hub::facts(const std::string& commit, const std::string& file) const {
  FetchRequest request;
  request.method = "HEAD";
  request.url = file_url(commit, file);
  request.headers = headers();
  request.headers["Accept-Encoding"] = "identity";  // otherwise the length is that of the compressed form
  request.follow_redirects = false;                 // the hub's own headers come with the redirect
  FetchResponse answer;
  for (int redirects = 0;; ++redirects) {
    SLUICE_ASSIGN(answer, fetch_with_retries(request, fetcher_,
                                             {options_.attempts, options_.retry_backoff_ms, nullptr}));
    // A renamed repository redirects within the hub, by a path alone; only that is followed.
    const std::string location = header(answer, "location");
    const bool within =
        is_redirect(answer.status) && location.starts_with('/') && !location.starts_with("//");
    if (!within || !header(answer, "x-linked-etag").empty() || redirects == HubLimits::kMaxRedirects) break;
    const size_t path = endpoint_.find('/', endpoint_.find("://") + 3);
    request.url = endpoint_.substr(0, path) + location;
  }
  if (answer.status != 200 && !is_redirect(answer.status)) return explain(answer, "file '" + file + "'");

  HubFileFacts facts;
  const std::string linked = header(answer, "x-linked-etag");
  facts.etag = bare_etag(linked.empty() ? header(answer, "etag") : linked);
  if (!HubCache::is_safe_etag(facts.etag)) {
    return Error{ErrorCode::kIo,
                 "The hub gives no usable ETag for '" + file + "' at " + public_url(request.url) + "."};
  }
  facts.size = parse_size(header(answer, "x-linked-size"));
  if (facts.size < 0 && answer.status == 200) facts.size = parse_size(header(answer, "content-length"));
  if (is_hex(facts.etag, 64)) facts.sha256 = facts.etag;
  if (is_hex(facts.etag, 40)) facts.git_blob = facts.etag;
  return facts;
}

Error Hub::explain(const FetchResponse& answer, const std::string& what) const {
  const std::string code = header(answer, "x-error-code");
  const std::string place = "'" + repository_ + "' at " + public_url(endpoint_);
  const std::string page = public_url(endpoint_) + "/" + repository_;
  if (code == "GatedRepo") {
    return {ErrorCode::kUnauthorized, "The model " + place + " is gated: accept its terms at " + page +
                                          ", then set HF_TOKEN to a token of that account."};
  }
  if (code == "RevisionNotFound")
    return {ErrorCode::kNotFound, "The model " + place + " has no " + what + "."};
  if (code == "EntryNotFound") return {ErrorCode::kNotFound, "The model " + place + " has no " + what + "."};
  if (answer.status == 401 && options_.token.empty()) {
    return {ErrorCode::kUnauthorized, "There is no model " + place +
                                          ", or it is private: check the name, or set HF_TOKEN to a "
                                          "token that may read it."};
  }
  if (answer.status == 401) {
    return {ErrorCode::kUnauthorized, "The token in HF_TOKEN is not valid, or may not read " + place + "."};
  }
  if (answer.status == 403) {
    return {ErrorCode::kUnauthorized, "Access to " + place + " is refused: accept the model's terms at " +
                                          page +
                                          " if it has any, and set HF_TOKEN to a token of that account."};
  }
  if (answer.status == 404) {
    return {ErrorCode::kNotFound,
            "There is no model " + place + ", or it has no " + what + ": check the name and the revision."};
  }
  return {ErrorCode::kIo, "The hub answered with status " + std::to_string(answer.status) +
                              " when asked for " + what + " of " + place + "."};
}

}  // namespace sluice
