#include "models/download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "models/checksum.h"
#include "models/mapped_file.h"
#include "models/model_name.h"

namespace sluice {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 42;  // 4 TiB: no weight file is near it
constexpr int kMaxBackoffMs = 8000;
constexpr int kMaxRetryAfterMs = 60000;
constexpr int64_t kProgressBytes =
    1 << 20;  // an attempt that came this much further than any before it does not count

bool worth_another_try(int status) {
  return status == 408 || status == 429 || status >= 500;
}

std::string header(const FetchResponse& response, const char* name) {
  const auto at = response.headers.find(name);
  return at == response.headers.end() ? "" : at->second;
}

// A non-negative decimal number, and nothing else; -1 otherwise.
int64_t parse_count(std::string_view text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string_view::npos)
    return -1;
  return std::stoll(std::string(text));
}

struct ContentRange {
  int64_t first = -1, total = -1;
};

// "bytes 100-199/200" (RFC 9110, section 14.4); "*" as the total gives -1.
ContentRange parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return {};
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return {};
  return {parse_count(text.substr(0, dash)), parse_count(text.substr(slash + 1))};
}

// What the server asks for; -1: nothing, or a date.
int retry_after_ms(const FetchResponse& answer) {
  const int64_t seconds = parse_count(header(answer, "retry-after"));
  return seconds < 0 ? -1 : static_cast<int>(std::min<int64_t>(seconds, kMaxRetryAfterMs / 1000) * 1000);
}

int wait_before_next(int failures, const DownloadPolicy& policy, int asked_ms) {
  if (asked_ms >= 0) return asked_ms;
  return static_cast<int>(
      std::min<int64_t>(int64_t{policy.retry_backoff_ms} << std::min(failures - 1, 10), kMaxBackoffMs));
}

bool stopped(const DownloadPolicy& policy) {
  return policy.stop != nullptr && policy.stop->load(std::memory_order_relaxed);
}

Error cancelled() {
  return {ErrorCode::kCancelled, "The download was stopped."};
}

Status sleep_unless_stopped(int ms, const DownloadPolicy& policy) {
  for (; ms > 0 && !stopped(policy); ms -= 50)
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(ms, 50)));
  if (stopped(policy)) return cancelled();
  return {};
}

std::string status_text(const FetchResponse& answer) {
  return "the server answered with status " + std::to_string(answer.status);
}

// The incomplete file, its hash so far, and what the server said of the whole.
class PartialFile {
 public:
  explicit PartialFile(const DownloadTarget& target) : target_(target), size_(target.size) {}
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  int64_t done() const { return done_; }
  int64_t size() const { return size_; }
  const std::string& etag() const { return etag_; }
  bool whole() const { return size_ >= 0 && done_ == size_; }

  // Opens what an earlier try left, hashed up to its end.
  Status open() {
    descriptor_ = ::open(target_.incomplete_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor_ < 0) return failed("open");
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) return failed("examine");
    if (!target_.named_by_content) {
      if (const auto saved = read_small_file(etag_path(), 1000); saved.ok()) etag_ = *saved;
      if (etag_.empty() && status.st_size > 0) return restart();
    }
    if (status.st_size > kMaxFileBytes || (size_ >= 0 && status.st_size > size_)) return restart();
    checksum_ = new_checksum();
    std::vector<char> piece(1 << 20);
    while (done_ < status.st_size) {
      const ssize_t count = ::pread(descriptor_, piece.data(), piece.size(), done_);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failed("read");
      if (count == 0) break;
      take_into_account({piece.data(), static_cast<size_t>(count)});
    }
    return {};
  }

  Status restart() {
    if (::ftruncate(descriptor_, 0) != 0) return failed("shorten");
    done_ = 0;
    begin_.clear();
    checksum_ = new_checksum();
    return {};
  }

  // The head of a 2xx answer to a request for everything from done() on.
  Status begin(const FetchResponse& head) {
    int64_t total = -1;
    if (head.status == 206) {
      const auto range = parse_content_range(header(head, "content-range"));
      if (range.first != done_)
        return Error{ErrorCode::kIo, "the server sent another range than the one asked for"};
      total = range.total;
    } else if (head.status == 200) {
      if (done_ > 0) SLUICE_TRY(restart());
      total = parse_count(header(head, "content-length"));
      if (!target_.named_by_content) {
        size_ = target_.size;
        SLUICE_TRY(remember_etag(header(head, "etag")));
      }
    } else {
      return Error{ErrorCode::kIo, status_text(head)};
    }
    if (total >= 0 && size_ >= 0 && total != size_) {
      return Error{ErrorCode::kIo, "the server now sends " + std::to_string(total) + " bytes instead of " +
                                       std::to_string(size_)};
    }
    if (total > kMaxFileBytes)
      return Error{ErrorCode::kTooLarge,
                   "the file is larger than " + std::to_string(kMaxFileBytes) + " bytes"};
    if (size_ < 0) size_ = total;
    begun_ = true;
    return check_space();
  }

  Status append(std::string_view piece) {
    if (!begun_) return Error{ErrorCode::kInternal, "bytes came before the head of their answer"};
    const int64_t limit = size_ >= 0 ? size_ : kMaxFileBytes;
    if (static_cast<int64_t>(piece.size()) > limit - done_) {
      return Error{ErrorCode::kCorrupt,
                   "the server sends more than the " + std::to_string(limit) + " bytes it announced"};
    }
    for (std::string_view left = piece; !left.empty();) {
      const ssize_t count = ::pwrite(descriptor_, left.data(), left.size(),
                                     done_ + static_cast<int64_t>(piece.size() - left.size()));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failed("write");
      left.remove_prefix(static_cast<size_t>(count));
    }
    take_into_account(piece);
    return {};
  }

  // The whole body came, so an unknown size is known now.
  void end() {
    if (size_ < 0) size_ = done_;
  }
  void expect_new_answer() { begun_ = false; }

  // Empty when the bytes are what was asked for; otherwise what is wrong with them.
  std::string judge() {
    if (!begin_.starts_with(target_.magic)) return "it does not begin with '" + target_.magic + "'";
    if (!checksum_) return "";
    const std::string got = std::exchange(checksum_, std::nullopt)->hex();
    const std::string& wanted = target_.sha256.empty() ? target_.git_blob : target_.sha256;
    return got == wanted ? "" : "its hash is " + got + " instead of " + wanted;
  }

  Status publish() {
    if (::fdatasync(descriptor_) != 0) return failed("flush");
    if (::rename(target_.incomplete_path.c_str(), target_.path.c_str()) != 0) return failed("rename");
    if (!target_.named_by_content) ::unlink(etag_path().c_str());
    return {};
  }

  // Whether the last failure was this machine's: another try would not help.
  bool disk_failed() const { return disk_failed_; }

 private:
  std::string etag_path() const { return target_.incomplete_path + ".etag"; }
  Error failed(const char* verb) {
    disk_failed_ = true;
    return {ErrorCode::kIo, std::string("Cannot ") + verb + " '" + target_.incomplete_path +
                                "': " + std::strerror(errno) + "."};
  }
  std::optional<Checksum> new_checksum() const {
    if (!target_.sha256.empty()) return Checksum::sha256();
    if (!target_.git_blob.empty() && target_.size >= 0)
      return Checksum::git_blob(static_cast<uint64_t>(target_.size));
    return std::nullopt;
  }
  void take_into_account(std::string_view piece) {
    if (begin_.size() < target_.magic.size()) begin_ += piece.substr(0, target_.magic.size() - begin_.size());
    if (checksum_) checksum_->add(piece);
    done_ += static_cast<int64_t>(piece.size());
  }
  // Weak validators cannot resume (RFC 9110, section 13.1.5).
  Status remember_etag(const std::string& etag) {
    etag_ = etag.starts_with("W/") || etag.size() > 1000 ? "" : etag;
    std::ofstream out(etag_path(), std::ios::trunc);
    out << etag_;
    out.close();
    if (!out.good()) return failed("write the ETag beside");
    return {};
  }
  Status check_space() {
    std::error_code error;
    const auto space =
        std::filesystem::space(std::filesystem::path(target_.incomplete_path).parent_path(), error);
    if (error || size_ < 0 || static_cast<uint64_t>(size_ - done_) <= space.available) return {};
    disk_failed_ = true;
    return Error{ErrorCode::kIo, "'" + target_.label + "' needs " + std::to_string(size_ - done_) +
                                     " more bytes, but only " + std::to_string(space.available) +
                                     " are free for '" + target_.path +
                                     "'. Free some, or choose another cache directory."};
  }

  const DownloadTarget& target_;
  int descriptor_ = -1;
  int64_t size_ = -1;
  int64_t done_ = 0;
  bool begun_ = false;
  bool disk_failed_ = false;
  std::string etag_;
  std::string begin_;  // the first bytes, as many as `magic` has
  std::optional<Checksum> checksum_;
};

Error cannot(const DownloadTarget& target, const Error& reason, const std::string& advice) {
  std::string why = reason.message;
  if (!why.empty() && why.back() == '.') why.pop_back();
  return {reason.code, "Cannot download '" + log::safe(target.label) + "' from " + public_url(target.url) +
                           ": " + why + "." + advice};
}

// One try's end: done, or why not, and whether another may help.
struct TryEnd {
  Status status;
  bool final = false;
  int asked_ms = -1;  // the server's own wish for the wait before it
};

TryEnd try_once(const DownloadTarget& target, PartialFile& file, Fetcher& fetcher,
                const DownloadPolicy& policy, const ExplainAnswer& explain,
                const std::function<void(int64_t, int64_t)>& on_bytes) {
  FetchRequest request;
  request.url = target.url;
  request.headers = target.headers;
  request.headers["Accept-Encoding"] = "identity";  // byte ranges and hashes are of the file itself
  if (file.done() > 0) {
    request.headers["Range"] = "bytes=" + std::to_string(file.done()) + "-";
    if (!target.named_by_content) request.headers["If-Range"] = file.etag();
  }
  std::optional<Error> ours;  // what our own callbacks refused, apart from what the network did
  const auto note = [&ours](Status status) {
    if (!status.ok()) ours = status.error();
    return status;
  };
  file.expect_new_answer();
  request.on_head = [&](const FetchResponse& head) -> Status {
    if (head.status < 200 || head.status > 299) return {};
    return note(file.begin(head));
  };
  request.sink = [&](std::string_view piece) -> Status {
    if (stopped(policy)) return note(cancelled());
    if (auto status = file.append(piece); !status.ok()) return note(std::move(status));
    on_bytes(file.done(), file.size());
    return {};
  };
  auto answer = fetcher.fetch(request);
  if (ours) {
    if (ours->code == ErrorCode::kCancelled || file.disk_failed()) return {*ours, true};
    if (ours->code == ErrorCode::kIo || ours->code == ErrorCode::kCorrupt) return {*ours, false};
    return {cannot(target, *ours, ""), true};
  }
  if (!answer.ok()) return {std::move(answer).error(), false};
  if (answer->status == 416) {  // what we have is not a part of what there is
    if (auto status = file.restart(); !status.ok()) return {status, true};
    return {Error{ErrorCode::kIo, status_text(*answer)}, false};
  }
  if (worth_another_try(answer->status)) {
    return {Error{ErrorCode::kIo, status_text(*answer)}, false, retry_after_ms(*answer)};
  }
  if (answer->status < 200 || answer->status > 299) return {explain(*answer), true};
  file.end();
  if (!file.whole()) return {Error{ErrorCode::kIo, "the connection ended early"}, false};
  return {};
}

// kCorrupt and a fresh start when the bytes are wrong.
Status judge_and_publish(const DownloadTarget& target, PartialFile& file) {
  const std::string fault = file.judge();
  if (fault.empty()) return file.publish();
  SLUICE_TRY(file.restart());
  return Error{ErrorCode::kCorrupt, "what arrived is not '" + target.label + "': " + fault};
}

}  // namespace

Status download_file(const DownloadTarget& target, Fetcher& fetcher, const DownloadPolicy& policy,
                     const ExplainAnswer& explain,
                     const std::function<void(int64_t done, int64_t size)>& on_bytes) {
  PartialFile file(target);
  SLUICE_TRY(file.open());
  int64_t furthest = file.done();
  for (int failures = 0;;) {
    TryEnd end;
    if (!file.whole()) end = try_once(target, file, fetcher, policy, explain, on_bytes);
    const bool progressed = file.done() >= furthest + kProgressBytes;
    furthest = std::max(furthest, file.done());
    if (end.status.ok()) {
      on_bytes(file.done(), file.size());
      end.status = judge_and_publish(target, file);
      if (end.status.ok()) return {};
      end.final = file.disk_failed();
    } else if (progressed) {
      failures = 0;
    }
    if (end.final) return end.status;
    if (++failures >= policy.attempts) {
      return cannot(target, end.status.error(), " What arrived is kept: start again to go on.");
    }
    const int wait_ms = wait_before_next(failures, policy, end.asked_ms);
    log::warn("{}: {}; trying again in {} ms", log::safe(target.label), log::safe(end.status.error().message),
              wait_ms);
    SLUICE_TRY(sleep_unless_stopped(wait_ms, policy));
  }
}

Result<FetchResponse> fetch_with_retries(const FetchRequest& request, Fetcher& fetcher,
                                         const DownloadPolicy& policy) {
  for (int failures = 1;; ++failures) {
    auto answer = fetcher.fetch(request);
    const bool again =
        answer.ok() ? worth_another_try(answer->status) : answer.error().code == ErrorCode::kIo;
    if (!again || failures >= policy.attempts) return answer;
    const int asked_ms = answer.ok() ? retry_after_ms(*answer) : -1;
    SLUICE_TRY(sleep_unless_stopped(wait_before_next(failures, policy, asked_ms), policy));
  }
}

}  // namespace sluice
