// Brings one file here over a Fetcher: resumed where an earlier try stopped, bounded in size and attempts,
// verified by hash, and visible under its name only when whole. One call is one thread's work; several files
// may load at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/result.h"
#include "models/repository.h"

namespace sluice {

struct DownloadTarget {
  std::string url;
  std::map<std::string, std::string> headers;
  std::string label;            // for messages: what the user calls this file
  std::string path;             // where it goes; its folder is there
  std::string incomplete_path;  // what is there so far; on the same file system
  int64_t size = -1;            // -1: unknown until the server says
  std::string sha256;           // expected; empty: not verified by it
  std::string git_blob;         // expected git blob name; needs `size`
  // True: the incomplete file's name says which content it is a part of. False: a file beside it (.etag)
  // keeps the server's ETag, and the rest is asked for only if that still holds (If-Range, RFC 9110
  // section 13.1.5).
  bool named_by_content = true;
  // Judges the first bytes of the file; empty: anything will do.
  std::string magic;
};

struct DownloadPolicy {
  int attempts = 4;            // without progress in between
  int retry_backoff_ms = 500;  // doubles, up to 8 s; a server's Retry-After counts instead, up to 60 s
  const std::atomic<bool>* stop = nullptr;  // set by whoever lost interest; the answer is then kCancelled
};

// What an answer that is neither a success nor worth another try means.
using ExplainAnswer = std::function<Error(const FetchResponse&)>;

// `on_bytes` hears how much is here of how much (-1: not known yet); the first may fall when the server does
// not resume. kIo when attempts are used up, kCorrupt when what comes is not what was announced.
Status download_file(const DownloadTarget& target, Fetcher& fetcher, const DownloadPolicy& policy,
                     const ExplainAnswer& explain,
                     const std::function<void(int64_t done, int64_t size)>& on_bytes);

// An exchange whose answer fits in memory, tried again while the network or the server fails (429, 5xx).
Result<FetchResponse> fetch_with_retries(const FetchRequest& request, Fetcher& fetcher,
                                         const DownloadPolicy& policy);

}  // namespace sluice
