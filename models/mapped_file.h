// A file's bytes, mapped read-only; unmapped with the object. Any thread.
//
// A mapping does not protect against whoever shortens the file later: reading beyond its new end kills the
// process (SIGBUS). So readers of big pieces ask `check_unchanged` just before, weights are repacked once at
// load, and nothing reads the mapping while requests are served.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace sluice {

class MappedFile {
 public:
  // kNotFound when there is no such file, kIo with the system's word otherwise, kCorrupt when it is empty.
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {begin_, size_}; }
  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }  // open for reading as long as the object lives
  // kCorrupt when the file has another size now than when it was mapped.
  Status check_unchanged() const;

 private:
  MappedFile(std::string path, int descriptor, const std::byte* begin, size_t size)
      : path_(std::move(path)), descriptor_(descriptor), begin_(begin), size_(size) {}
  void release();

  std::string path_;
  int descriptor_ = -1;
  const std::byte* begin_ = nullptr;
  size_t size_ = 0;
};

// All bytes of a small file. kTooLarge beyond `max_bytes`; otherwise as MappedFile::open, but an empty file
// is an empty string.
Result<std::string> read_small_file(const std::string& path, size_t max_bytes);

}  // namespace sluice
