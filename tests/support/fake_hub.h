// A hub in memory: answers a Fetcher's requests as the Hugging Face hub does, or wrongly in the ways that
// networks and servers go wrong. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "models/checksum.h"
#include "models/repository.h"

namespace sluice {

class FakeHub : public Fetcher {
 public:
  static constexpr const char* kEndpoint = "https://hub.test";
  static constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

  struct File {
    std::string bytes;
    bool large = false;  // LFS: named by SHA-256, served through a redirect to another host
  };
  // What goes wrong with one answer. Later ones are right again.
  struct Fault {
    int status = 0;  // instead of the answer
    std::map<std::string, std::string> headers;
    bool network = false;              // no answer at all
    int64_t cut_after = -1;            // bytes of body, then the connection breaks
    bool ignore_range = false;         // 200 with everything
    std::optional<std::string> bytes;  // another body
  };
  struct Seen {
    std::string method, url, range, authorization;
  };

  std::string repository = "org/name";
  std::map<std::string, std::string> revisions = {{"main", kCommit}};
  std::map<std::string, File> files;
  std::map<std::string, std::string> plain;        // any other URL -> bytes
  std::map<std::string, std::string> plain_etags;  // of those; absent: none
  std::map<std::string, std::string> renamed;      // old repository name -> new: redirects within the hub
  std::vector<std::string> extra_names;            // in the listing, whether or not they are files
  // Asked once per request; nullopt: the right answer.
  std::function<std::optional<Fault>(const FetchRequest&)> fault;

  std::vector<Seen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  size_t count(const std::string& method, const std::string& url_part) const {
    size_t n = 0;
    for (const auto& s : seen()) n += s.method == method && s.url.find(url_part) != std::string::npos ? 1 : 0;
    return n;
  }

  static std::string etag_of(const File& file);
  Result<FetchResponse> fetch(const FetchRequest& request) override;

 private:
  struct Answer {
    int status = 404;
    std::map<std::string, std::string> headers;
    std::string body;
  };
  Answer answer_to(const FetchRequest& request, const std::string& url, const Fault& fault) const;
  static Answer serve(const std::string& bytes, const FetchRequest& request, const Fault& fault,
                      std::map<std::string, std::string> headers);

  mutable std::mutex mutex_;
  std::vector<Seen> seen_;
};

}  // namespace sluice
