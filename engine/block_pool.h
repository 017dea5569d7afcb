// Counts references to KV block ids and keeps the free ones in the order of their reuse. Owns no memory,
// knows no sequence and no token. Every operation is O(1) and none allocates. Engine thread only.
//
// A block is used (references > 0) or free. A free block may be cached: its content is still worth finding
// until it is acquired again. The free list is reused from the head: blocks without a cached content stand
// there, cached ones queue at the tail, the longest unused first. So whoever releases a sequence's blocks
// from the last to the first gives up its deepest block first and keeps the prefix that others may share.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

class BlockPool {
 public:
  explicit BlockPool(int64_t block_count);

  int64_t block_count() const { return static_cast<int64_t>(blocks_.size()) - 1; }
  int64_t free_count() const { return free_count_; }  // cached ones too
  int64_t used_count() const { return block_count() - free_count_; }
  int64_t cached_free_count() const { return cached_free_count_; }
  int32_t references(int32_t block) const { return at(block).references; }
  bool cached(int32_t block) const { return at(block).cached; }

  // The first of the free list, with one reference; at least one must be free. `cached(block)` still tells
  // whether it held a prefix: the caller forgets that and calls set_cached(block, false).
  int32_t acquire();
  // One more reference to a used block, or the first to a cached free one, which leaves the free list.
  void share(int32_t block);
  // One reference less; at zero the block is free.
  void release(int32_t block);
  // Whether the block's content can be found by others. A free block that loses its content goes to the head.
  void set_cached(int32_t block, bool cached);

 private:
  struct Block {
    int32_t references = 0;
    int32_t previous = 0, next = 0;  // in the free list, while free
    bool cached = false;
  };
  Block& at(int32_t block);
  const Block& at(int32_t block) const;
  void link_after(int32_t block, int32_t previous);
  void unlink(int32_t block);
  void enter_free_list(int32_t block);

  std::vector<Block> blocks_;  // the last one is the list's sentinel
  const int32_t sentinel_;
  int64_t free_count_ = 0;
  int64_t cached_free_count_ = 0;
};

}  // namespace sluice
