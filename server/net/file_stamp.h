// What tells one state of a file from another without reading it. Links are followed: Kubernetes exchanges a
// secret or a config map by one. Any thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace sluice {

struct FileStamp {
  uint64_t device = 0, inode = 0;
  int64_t size = -1, modified_ns = 0;  // -1: there is no such file
  bool operator==(const FileStamp&) const = default;

  static FileStamp of(const std::string& path) {
    struct stat facts {};
    if (path.empty() || ::stat(path.c_str(), &facts) != 0) return {};
    return {facts.st_dev, facts.st_ino, facts.st_size,
            facts.st_mtim.tv_sec * int64_t{1'000'000'000} + facts.st_mtim.tv_nsec};
  }
};

}  // namespace sluice
