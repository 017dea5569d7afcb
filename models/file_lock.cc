#include "models/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/log.h"

namespace sluice {
namespace {

constexpr auto kQuietWait = std::chrono::seconds(2);  // before a word about it

}  // namespace

Result<FileLock> FileLock::acquire(const std::string& path, int64_t wait_ms) {
  using Clock = std::chrono::steady_clock;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  if (descriptor < 0) {
    return Error{ErrorCode::kIo, "Cannot make the lock file '" + path + "': " + std::strerror(errno) +
                                     ". The cache directory must be writable."};
  }
  FileLock lock(descriptor);
  const auto start = Clock::now();
  const auto give_up = start + std::chrono::milliseconds(wait_ms);
  for (bool told = false; ::flock(descriptor, LOCK_EX | LOCK_NB) != 0;) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {
      return Error{ErrorCode::kIo, "Cannot lock '" + path + "': " + std::strerror(errno) + "."};
    }
    if (Clock::now() >= give_up) {
      return Error{ErrorCode::kUnavailable,
                   "Another process has held '" + path + "' for " + std::to_string(wait_ms / 1000) +
                       " s, probably while downloading the same model. Try again when it is done."};
    }
    if (!told && Clock::now() - start >= kQuietWait) {
      told = true;
      log::info("another process downloads the same file; waiting for it ({})", path);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return lock;
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);  // frees the lock
}

}  // namespace sluice
