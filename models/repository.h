// Where a model comes from: turns MODEL of the command line into a path on this machine, downloading into the
// on-disk cache (the Hugging Face hub's own layout under HF_HOME, shared with other tools) when it must.
// Knows the hub's URL scheme, not HTTP: bytes come through `Fetcher`, which server/net implements.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice {

struct FetchRequest {
  std::string method = "GET";   // GET or HEAD
  std::string url;
  std::map<std::string, std::string> headers;
  bool follow_redirects = true;    // a HEAD for hub metadata must see the first answer's own headers
  int64_t max_body_bytes = 64 << 20;
  // When set, the body goes here piece by piece instead of into FetchResponse::body; an error ends the fetch.
  std::function<Status(std::string_view piece)> sink;
};

struct FetchResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string final_url;
};

// One HTTP(S) exchange, blocking. Any thread, several at once.
class Fetcher {
 public:
  virtual ~Fetcher() = default;
  virtual Result<FetchResponse> fetch(const FetchRequest& request) = 0;
};

struct RepositoryOptions {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string token;                                // HF_TOKEN
  std::string cache_directory;  // HF_HUB_CACHE, or HF_HOME + "/hub", or ~/.cache/huggingface/hub
  std::string download_directory;                   // for plain URLs: ~/.cache/sluice/models
  int parallel_downloads = 4;
  int attempts = 4;                                 // per file, resuming where it stopped
  bool offline = false;                             // HF_HUB_OFFLINE
};

struct DownloadProgress {
  std::string file;
  int64_t done_bytes = 0, total_bytes = 0;  // of the whole download
};

// `model`: a path; org/name[@revision]; hf://org/name[@revision][/file.gguf]; http(s)://….gguf. A
// repository that holds only GGUF files needs the file's name when there are several. kNotFound,
// kUnauthorized, kIo say what to change.
Result<std::string> resolve_model(const std::string& model, const RepositoryOptions& options,
                                  Fetcher& fetcher,
                                  const std::function<void(const DownloadProgress&)>& on_progress);

}  // namespace sluice
