// Large zeroed memory, aligned to 2 MB, on huge pages where the system gives them: a mapping (for buffers),
// and an arena that lays many weights end to end in few mappings, so that small ones share huge pages and a
// pass over a model is one stream. The arena is used by the loading thread only; the mappings live as long as
// anything points into them.
#pragma once

#include <cstddef>
#include <memory>

namespace sluice::cpu {

class Mapping {
 public:
  // Null when the system refuses.
  static std::shared_ptr<Mapping> make(size_t bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Mapping() = default;
  void* base_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

struct ArenaPiece {
  std::shared_ptr<Mapping> owner;
  std::byte* data = nullptr;  // aligned to 64
};

class Arena {
 public:
  ArenaPiece take(size_t bytes);  // data is null when the system refuses

 private:
  std::shared_ptr<Mapping> current_;
  size_t used_ = 0;
};

struct MemoryFacts {
  size_t total_bytes = 0;
  size_t free_bytes = 0;
};
MemoryFacts memory_facts();  // of this machine or the cgroup, whichever is less

}  // namespace sluice::cpu
