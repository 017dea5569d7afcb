// An allocator for large arrays that are read at random places: asks the kernel for pages of 2 MiB, so that a
// look-up costs no walk through page tables beside its cache miss. A hint: without such pages all works as
// before.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace sluice {

template <class T>
struct HugePageAllocator {
  using value_type = T;
  static constexpr size_t kPage = size_t{2} << 20;

  HugePageAllocator() = default;
  template <class U>
  HugePageAllocator(const HugePageAllocator<U>&) {}  // NOLINT: implicit as allocators are

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    const size_t align = bytes >= kPage ? kPage : std::max(alignof(T), alignof(std::max_align_t));
    void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align);
    if (memory == nullptr) throw std::bad_alloc();
    if (bytes >= kPage) madvise(memory, bytes / kPage * kPage, MADV_HUGEPAGE);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }

  bool operator==(const HugePageAllocator&) const = default;
};

}  // namespace sluice
