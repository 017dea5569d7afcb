// An exclusive lock between processes (flock), held as long as the object lives; the system frees it when a
// process dies. The same kind of lock on the same file as Python's filelock takes, so other tools that fill
// the cache wait for us and we for them.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice {

class FileLock {
 public:
  // Waits, up to `wait_ms`, while another process holds it; makes the file and its folders. kUnavailable when
  // it still does.
  static Result<FileLock> acquire(const std::string& path, int64_t wait_ms);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace sluice
