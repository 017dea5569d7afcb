// Where a model comes from: turns MODEL of the command line into a path on this machine, downloading into the
// on-disk cache (the Hugging Face hub's own layout under HF_HOME, shared with other tools) when it must.
// Knows the hub's URL scheme, not HTTP: bytes come through `Fetcher`, which server/net implements.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice {

struct FetchRequest {
  std::string method = "GET";  // GET or HEAD
  std::string url;
  std::map<std::string, std::string> headers;
  bool follow_redirects = true;       // a HEAD for hub metadata must see the first answer's own headers
  int64_t max_body_bytes = 64 << 20;  // of a body that is kept in memory; what a sink takes it bounds itself
  // When set, it sees status and headers of the answer that counts (after redirects) before the first byte of
  // its body; an error ends the fetch.
  std::function<Status(const struct FetchResponse& head)> on_head;
  // When set, the body of a 2xx answer goes here piece by piece; any other body goes into
  // FetchResponse::body. An error ends the fetch.
  std::function<Status(std::string_view piece)> sink;
};

struct FetchResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string final_url;
};

// One HTTP(S) exchange, blocking, with waits bounded by the implementation. Any thread, several at once. A
// redirect to another scheme, host or port drops Authorization and Cookie: a hub sends the bytes from a
// content network that must not see the token. A body that ends before its announced length is an error,
// after its pieces went to the sink.
class Fetcher {
 public:
  virtual ~Fetcher() = default;
  virtual Result<FetchResponse> fetch(const FetchRequest& request) = 0;
};

struct RepositoryOptions {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string token;                                // HF_TOKEN
  std::string cache_directory;     // HF_HUB_CACHE, or HF_HOME + "/hub", or ~/.cache/huggingface/hub
  std::string download_directory;  // for plain URLs: ~/.cache/sluice/models
  int parallel_downloads = 4;
  int attempts = 4;            // per file, resuming where it stopped, without progress in between
  int retry_backoff_ms = 500;  // before the second attempt; doubles with each, up to 8 s
  bool offline = false;        // HF_HUB_OFFLINE
};

struct DownloadProgress {
  std::string file;
  int64_t done_bytes = 0, total_bytes = 0;  // of the whole download
};

// `on_progress` may be empty; it is called from downloading threads, one at a time.
//
// `model`: a path; org/name[@revision]; hf://org/name[@revision][/file.gguf]; http(s)://….gguf. A
// repository that holds only GGUF files needs the file's name when there are several. kNotFound,
// kUnauthorized, kIo say what to change.
Result<std::string> resolve_model(const std::string& model, const RepositoryOptions& options,
                                  Fetcher& fetcher,
                                  const std::function<void(const DownloadProgress&)>& on_progress);

}  // namespace sluice
