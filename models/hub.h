// The Hugging Face hub's protocol, as far as serving a model needs it: which files a revision has, what each
// file's content is called, and what a refusal means. Source: https://huggingface.co/docs/hub/api and the
// huggingface_hub package. Every name that the server sends is judged before it is believed. The token goes
// to the hub's own endpoint only. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/download.h"
#include "models/repository.h"

namespace sluice {

struct HubLimits {
  static constexpr size_t kMaxFiles = 20000;
  static constexpr int64_t kMaxListingBytes = 32 << 20;
  static constexpr int kMaxRedirects = 5;
};

struct HubListing {
  std::string commit;
  std::vector<std::string> files;  // safe relative paths, sorted; others that the server named are left out
};

struct HubFileFacts {
  std::string etag;      // safe as a file name
  int64_t size = -1;     // -1: the server did not say
  std::string sha256;    // when the etag is one
  std::string git_blob;  // when the etag is one
};

class Hub {
 public:
  // `options` and `fetcher` must outlive it.
  Hub(const RepositoryOptions& options, Fetcher& fetcher, std::string repository);

  // `attempts`: tries before the network or the server counts as down (kIo).
  Result<HubListing> list(const std::string& revision, int attempts) const;
  Result<HubFileFacts> facts(const std::string& commit, const std::string& file) const;
  std::string file_url(const std::string& commit, const std::string& file) const;
  std::map<std::string, std::string> headers() const;
  // A sentence for an answer that is not a success. `what`: the revision or file that was asked for.
  Error explain(const FetchResponse& answer, const std::string& what) const;

 private:
  const RepositoryOptions& options_;
  Fetcher& fetcher_;
  std::string endpoint_;
  std::string repository_;
};

}  // namespace sluice
