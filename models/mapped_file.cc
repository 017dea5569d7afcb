#include "models/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

Error system_error(const std::string& path, const char* verb, int number) {
  const auto code = number == ENOENT || number == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo;
  return Error{code, std::string("Cannot ") + verb + " '" + path + "': " + std::strerror(number) + "."};
}

struct OpenFile {
  int descriptor = -1;
  size_t size = 0;
};

Result<OpenFile> open_regular(const std::string& path) {
  // O_NONBLOCK: a FIFO in place of a file must not hang us; it has no meaning for regular files.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return system_error(path, "open", errno);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    const int number = errno;
    ::close(descriptor);
    return system_error(path, "examine", number);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return Error{ErrorCode::kIo, "'" + path + "' is not a regular file."};
  }
  return OpenFile{descriptor, static_cast<size_t>(status.st_size)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  SLUICE_ASSIGN(const OpenFile file, open_regular(path));
  if (file.size == 0) {
    ::close(file.descriptor);
    return Error{ErrorCode::kCorrupt, "'" + path + "' is empty."};
  }
  void* begin = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.descriptor, 0);
  if (begin == MAP_FAILED) {
    const int number = errno;
    ::close(file.descriptor);
    return system_error(path, "map", number);
  }
  return MappedFile(path, file.descriptor, static_cast<const std::byte*>(begin), file.size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      begin_(std::exchange(other.begin_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    release();
    path_ = std::move(other.path_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    begin_ = std::exchange(other.begin_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

MappedFile::~MappedFile() {
  release();
}

void MappedFile::release() {
  if (begin_ != nullptr) ::munmap(const_cast<std::byte*>(begin_), size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status MappedFile::check_unchanged() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) return system_error(path_, "examine", errno);
  if (static_cast<size_t>(status.st_size) == size_) return {};
  return Error{ErrorCode::kCorrupt, "'" + path_ + "' changed its size from " + std::to_string(size_) +
                                        " to " + std::to_string(status.st_size) +
                                        " bytes while it was read."};
}

Result<std::string> read_small_file(const std::string& path, size_t max_bytes) {
  SLUICE_ASSIGN(const OpenFile file, open_regular(path));
  if (file.size > max_bytes) {
    ::close(file.descriptor);
    return Error{ErrorCode::kTooLarge, "'" + path + "' has " + std::to_string(file.size) +
                                           " bytes; at most " + std::to_string(max_bytes) + " are read."};
  }
  std::string text(file.size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(file.descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int number = errno;
      ::close(file.descriptor);
      return system_error(path, "read", number);
    }
    if (count == 0) break;  // shortened meanwhile: what is there
    done += static_cast<size_t>(count);
  }
  ::close(file.descriptor);
  text.resize(done);
  return text;
}

}  // namespace sluice
