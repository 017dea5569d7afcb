// Finds the KV block that holds given tokens after a given prefix: chained block hash -> block id. Handed
// token spans, never a sequence; counts no references (BlockPool does). Sized once for all blocks: nothing
// allocates later. Engine thread only.
//
// A block's hash covers its parent's hash and its own token ids; the chain's first parent is the cache salt.
// A hash match is never trusted: the tokens are compared, and the block must follow the very entry that was
// matched before it (each entry has a number of its own that no other entry ever gets). So by induction a
// match is exact, whatever the hash does.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/block_hash.h"

namespace sluice {

using BlockHash = uint64_t (*)(uint64_t parent_hash, std::span<const int32_t> tokens);

// A place in the tree of known prefixes: behind `depth` whole blocks.
struct PrefixChain {
  uint64_t hash = 0;    // of everything before
  uint64_t parent = 0;  // the entry's own number; at depth 0 the salt
  int32_t depth = 0;
};

// Is told which blocks can be found, by their hashes. The first block of a chain has the salt's hash for a
// parent.
class BlockWatch {
 public:
  virtual ~BlockWatch() = default;
  virtual void stored(uint64_t hash, uint64_t parent) = 0;
  virtual void evicted(uint64_t hash) = 0;
};

class PrefixCache {
 public:
  PrefixCache(int64_t block_count, int block_tokens, BlockHash hash = block_hash);

  static PrefixChain start(uint64_t salt);

  // The block that holds `tokens` (a whole block of them) behind `chain`, which then stands behind it; or
  // kNone.
  static constexpr int32_t kNone = -1;
  int32_t find(PrefixChain& chain, std::span<const int32_t> tokens) const;

  struct Added {
    int32_t holder =
        kNone;  // who is found for these tokens from now on: `block`, or one that was there before
    int32_t displaced = kNone;  // a block that lost its place because its hash collided
  };
  // Makes `block` findable as the holder of `tokens` behind `chain`, unless another is already; `chain` goes
  // on behind the holder. The block must not be in the cache.
  Added add(PrefixChain& chain, std::span<const int32_t> tokens, int32_t block);

  // The block's content is no longer what it was. No effect when it is not in the cache.
  void forget(int32_t block);

  // From now on; it outlives the cache's last change. Null: nobody.
  void watch(BlockWatch* watch) { watch_ = watch; }

  // A way through all that is held, from the oldest entry to the newest (so parents come before their
  // children), which may pause while entries come and go. Ended before it is destroyed.
  class Walk {
    friend PrefixCache;
    int32_t next = kNone;
    uint64_t last_number = 0;  // of the entries there were at its begin
    bool begun = false;
  };
  struct Held {
    uint64_t hash, parent;
  };
  void begin(Walk& walk);
  // Appends the next `count` entries at most, as they are now; none that came after the begin. False: that
  // was all.
  bool advance(Walk& walk, size_t count, std::vector<Held>& out);
  void end(Walk& walk);
  // Of a block that is held.
  Held held(int32_t block) const;

  bool holds(int32_t block) const { return entries_[static_cast<size_t>(block)].number != 0; }
  int64_t size() const { return size_; }

 private:
  struct Entry {
    uint64_t hash = 0;
    uint64_t parent_hash = 0;
    uint64_t parent = 0;
    uint64_t number = 0;  // 0: not in the cache
    int32_t depth = 0;
    int32_t next = kNone;                  // in the bucket
    int32_t older = kNone, newer = kNone;  // by number
  };
  Entry& at(int32_t block) { return entries_[static_cast<size_t>(block)]; }
  void link_newest(int32_t block);
  void unlink(int32_t block);
  std::span<const int32_t> tokens_of(int32_t block) const;
  bool matches(int32_t block, const PrefixChain& chain, std::span<const int32_t> tokens) const;
  int32_t& bucket_of(uint64_t hash) { return buckets_[(hash >> 7) & (buckets_.size() - 1)]; }
  int32_t find_hash(uint64_t hash) const;

  const size_t block_tokens_;
  const BlockHash hash_;
  std::vector<Entry> entries_;         // [N]
  std::unique_ptr<int32_t[]> tokens_;  // [N, B], of those held; memory never written is never touched
  std::vector<int32_t> buckets_;       // a power of two of chain heads
  uint64_t last_number_ = 0;
  int64_t size_ = 0;
  int32_t oldest_ = kNone, newest_ = kNone;
  BlockWatch* watch_ = nullptr;
  std::vector<Walk*> walks_;
};

}  // namespace sluice
