#include "engine/block_pool.h"

#include <limits>
#include <string>

#include "base/check.h"

namespace sluice {

BlockPool::BlockPool(int64_t block_count)
    : blocks_(static_cast<size_t>(block_count) + 1), sentinel_(static_cast<int32_t>(block_count)) {
  SLUICE_CHECK_LT(block_count, std::numeric_limits<int32_t>::max());
  auto& ends = blocks_.back();
  ends.previous = ends.next = sentinel_;
  for (int32_t block = 0; block < sentinel_; ++block) link_after(block, blocks_.back().previous);
}

BlockPool::Block& BlockPool::at(int32_t block) {
  SLUICE_CHECK(block >= 0 && block < sentinel_);
  return blocks_[static_cast<size_t>(block)];
}

const BlockPool::Block& BlockPool::at(int32_t block) const {
  SLUICE_CHECK(block >= 0 && block < sentinel_);
  return blocks_[static_cast<size_t>(block)];
}

int32_t BlockPool::acquire() {
  SLUICE_CHECK_LT(0, free_count_);
  const int32_t block = blocks_.back().next;
  unlink(block);
  at(block).references = 1;
  return block;
}

void BlockPool::share(int32_t block) {
  Block& b = at(block);
  if (b.references == 0) {
    SLUICE_CHECK(b.cached);
    unlink(block);
  }
  ++b.references;
}

void BlockPool::release(int32_t block) {
  Block& b = at(block);
  SLUICE_CHECK_LT(0, b.references);
  if (--b.references == 0) enter_free_list(block);
}

void BlockPool::set_cached(int32_t block, bool cached) {
  Block& b = at(block);
  if (b.cached == cached) return;
  const bool free = b.references == 0;
  if (free) unlink(block);
  b.cached = cached;
  if (free) enter_free_list(block);
}

void BlockPool::enter_free_list(int32_t block) {
  link_after(block, at(block).cached ? blocks_.back().previous : sentinel_);
}

void BlockPool::link_after(int32_t block, int32_t previous) {
  Block& before = blocks_[static_cast<size_t>(previous)];
  Block& b = at(block);
  b.previous = previous;
  b.next = before.next;
  blocks_[static_cast<size_t>(b.next)].previous = block;
  before.next = block;
  ++free_count_;
  if (b.cached) ++cached_free_count_;
}

void BlockPool::unlink(int32_t block) {
  Block& b = at(block);
  blocks_[static_cast<size_t>(b.previous)].next = b.next;
  blocks_[static_cast<size_t>(b.next)].previous = b.previous;
  --free_count_;
  if (b.cached) --cached_free_count_;
}

}  // namespace sluice
