#include "kernels/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

namespace sluice::cpu {
namespace {

constexpr size_t kHugePage = 2 << 20;
constexpr size_t kArenaChunk = 64 << 20;  // address space; memory is taken as it is touched
constexpr size_t kSlack = 64;             // vector loads may look past the last element

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

}  // namespace

std::shared_ptr<Mapping> Mapping::make(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  auto mapping = std::shared_ptr<Mapping>(new Mapping);
  const bool huge = bytes >= kHugePage;
  mapping->mapped_ = round_up(bytes + kSlack, 4096) + (huge ? kHugePage : 0);
  void* base = mmap(nullptr, mapping->mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  mapping->base_ = base;
  const auto address = reinterpret_cast<uintptr_t>(base);
  mapping->data_ = reinterpret_cast<std::byte*>(huge ? round_up(address, kHugePage) : address);
  mapping->size_ = bytes;
  if (huge) madvise(mapping->data_, bytes, MADV_HUGEPAGE);  // a wish: small pages work too
  return mapping;
}

Mapping::~Mapping() {
  if (base_ != nullptr) munmap(base_, mapped_);
}

ArenaPiece Arena::take(size_t bytes) {
  const size_t need = round_up(bytes + kSlack, 64);
  if (current_ == nullptr || used_ + need > current_->size()) {
    auto chunk = Mapping::make(std::max(need, kArenaChunk));
    if (chunk == nullptr) return {};
    // A piece larger than a chunk stands alone; what is left of the current chunk stays in use.
    if (need >= kArenaChunk) return {chunk, chunk->data()};
    current_ = std::move(chunk);
    used_ = 0;
  }
  ArenaPiece piece{current_, current_->data() + used_};
  used_ += need;
  return piece;
}

MemoryFacts memory_facts() {
  MemoryFacts facts;
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  size_t kilobytes = 0;
  while (meminfo >> name >> kilobytes) {
    std::getline(meminfo, unit);
    if (name == "MemTotal:") facts.total_bytes = kilobytes << 10;
    if (name == "MemAvailable:") facts.free_bytes = kilobytes << 10;
  }
  const auto number = [](const char* path) {
    std::ifstream in(path);
    size_t value = 0;
    return in >> value ? value : SIZE_MAX;  // "max" and absent files: no limit
  };
  size_t limit = number("/sys/fs/cgroup/memory.max"), used = number("/sys/fs/cgroup/memory.current");
  if (used == SIZE_MAX) {
    limit = number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    used = number("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  }
  if (limit < facts.total_bytes && used != SIZE_MAX) {
    facts.total_bytes = limit;
    facts.free_bytes = std::min(facts.free_bytes, limit > used ? limit - used : 0);
  }
  return facts;
}

}  // namespace sluice::cpu
