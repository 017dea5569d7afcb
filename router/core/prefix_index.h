// Who holds which prefix: the hash of a KV block (or of a chunk of text) -> its parent and its holders, over
// all replicas, within a fixed number of bytes. One thread; reads no clock.
//
// A *holder* is a replica's cache from one start or repair to the next. What it holds is exact (its events
// said so, and stand until an event says otherwise) or *placed*: we sent it there at some moment, and believe
// it as long as that moment is not before the holder's horizon. Retiring a holder costs nothing: its records
// count no more at once, and `sweep` takes them out a little at a time.
//
// Memory: entries of 32 bytes in an AssociativeTable, two holders within each; what more replicas hold has
// its further holders in nodes of a pool. When the pool is spent a holder is not recorded (and counted),
// which at worst makes a replica look colder than it is. Reports from replicas are hostile: each holder has a
// limit.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "router/core/associative_table.h"
#include "router/core/units.h"

namespace sluice::router {

using HolderId = uint16_t;
inline constexpr HolderId kNoHolder = 0xffff;
inline constexpr size_t kMaxHolders = 1024;
using HolderSet = std::bitset<kMaxHolders>;

// Sixteenths of a second: small enough to record with every holder.
using Tick = uint32_t;
Tick tick_of(Seconds time);

struct PrefixIndexOptions {
  uint64_t budget_bytes = 512ULL << 20;
  uint64_t secret = 0;  // random at start, so that nobody outside can aim at one set
};

struct PrefixIndexStats {
  uint64_t blocks = 0;
  uint64_t capacity_blocks = 0;
  uint64_t bytes = 0;               // fixed at start
  uint64_t evictions = 0;           // entries that gave their place to others: the budget is too small
  uint64_t unrecorded_holders = 0;  // for want of pool nodes
  uint64_t refused_reports = 0;     // over a holder's limit
};

class PrefixIndex {
 public:
  explicit PrefixIndex(const PrefixIndexOptions& options);

  // A new holder that may report at most `max_blocks`. None when all ids are taken by living holders.
  std::optional<HolderId> add_holder(uint64_t max_blocks);
  void set_limit(HolderId holder, uint64_t max_blocks) { holders_[holder].max_blocks = max_blocks; }
  // It holds nothing any more.
  void retire(HolderId holder);
  // Takes the records of retired holders out of the next `sets` sets of the table.
  void sweep(uint64_t sets);

  // The holder's own word. store: false when it is over its limit.
  bool store(HolderId holder, uint64_t hash, uint64_t parent);
  void evict(HolderId holder, uint64_t hash);
  // We send it there; it counts until the holder's horizon passes `when`. Exact knowledge stays exact.
  void place(HolderId holder, uint64_t hash, uint64_t parent, Tick when);
  // What was placed before `horizon` is believed no more.
  void set_horizon(HolderId holder, Tick horizon) { holders_[holder].horizon = horizon; }

  // Adds the holders of hashes[i] to holders[i]; known[i] is set where the hash is known. Counts as use of
  // the entries. What the answers wait for overlaps: many cost little more than one. At most kMaxAsked.
  static constexpr size_t kMaxAsked = 40;
  struct Answer {
    HolderSet holders;
    bool known = false;
  };
  void add_holders_of(std::span<const uint64_t> hashes, std::span<Answer> answers);
  bool holds(HolderId holder, uint64_t hash);
  std::optional<uint64_t> parent_of(uint64_t hash);
  void touch(uint64_t hash);

  // Exact records the holder has now.
  uint64_t reported_blocks(HolderId holder) const { return holders_[holder].blocks; }
  PrefixIndexStats stats() const;

 private:
  static constexpr Tick kExact = ~Tick{0};
  static constexpr uint32_t kCrowd = 1U << 31;
  struct Entry {
    uint64_t hash;
    uint64_t parent;
    Tick placed[2];
    uint32_t more;       // 0: none; a node; with kCrowd a crowd
    HolderId holder[2];  // kept as id + 1: zero is nobody
  };
  static_assert(sizeof(Entry) == 32);
  static constexpr size_t kNodeRecords = 9;
  struct alignas(64) Node {
    Tick placed[kNodeRecords];
    HolderId holder[kNodeRecords];  // id + 1
    uint32_t next;
  };
  static_assert(sizeof(Node) == 64);
  // Of a hot block. Placements are kept in two generations instead of each with its moment: all of a
  // generation are believed as long as its latest, half a minute too long at most.
  struct alignas(64) Crowd {
    HolderSet exact;
    Tick latest[2];       // of each generation; 0: it is empty
    Tick since;           // when the first generation began
    uint32_t next;        // of the free ones
    HolderSet placed[2];  // the generation that grows, the one before
  };
  static constexpr Tick kGeneration = 30 * 16;
  struct Record {
    Tick* placed = nullptr;
    HolderId* holder = nullptr;
  };
  struct Holder {
    bool alive = false;
    Tick horizon = 0;
    uint64_t blocks = 0;
    uint64_t max_blocks = 0;
    uint64_t sweep_end = 0;  // retired: its records are out when so many sets were swept
    bool swept = true;
  };

  bool counts(HolderId id_plus_1, Tick placed) const {
    const Holder& holder = holders_[id_plus_1 - 1U];
    return holder.alive && (placed == kExact || placed >= holder.horizon);
  }
  void add_holders(Entry& entry, HolderSet& set);
  Entry* find_or_insert(uint64_t hash, uint64_t parent);
  Record find_record(Entry& entry, HolderId holder);
  Record free_record(Entry& entry);
  void shrink(Entry& entry);
  Crowd* crowd_of(const Entry& entry) {
    return (entry.more & kCrowd) != 0 ? &crowds_[entry.more & ~kCrowd] : nullptr;
  }
  Crowd* gather_crowd(Entry& entry);  // nullptr: the pool is spent
  void disperse(Entry& entry);
  Crowd* crowd_for(Entry& entry);
  void erase_if_empty(Entry* entry);
  bool believed(const Crowd& crowd, HolderId holder) const;
  void forget(Entry& entry);  // it leaves the table: counts and nodes go back
  bool prune(Entry& entry);   // takes out records of retired holders; true when nobody is left
  uint32_t take_node();
  void give_nodes(uint32_t first);
  template <class Visit>
  void visit_records(Entry& entry, Visit&& visit);

  AssociativeTable<Entry> table_;
  std::vector<Node, HugePageAllocator<Node>> nodes_;  // [0] is nobody's
  uint32_t free_node_ = 0;
  std::vector<Crowd, HugePageAllocator<Crowd>> crowds_;  // [0] is nobody's
  uint32_t free_crowd_ = 0;
  HolderSet alive_;
  std::array<Holder, kMaxHolders> holders_;
  uint64_t swept_sets_ = 0;  // since the start
  uint64_t retired_ = 0;     // holders waiting for the sweep
  uint64_t unrecorded_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace sluice::router
