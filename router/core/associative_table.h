// A hash table of fixed size that forgets what was not used lately: sets of 56 places, one byte of tag each,
// and a clock per set. Allocates once; an insert into a full set takes the place of an entry that nobody
// touched since the clock's hand passed. One thread.
//
// Why sets and not one long probe sequence: a probe never leaves its set, whatever hashes an enemy sends; no
// tombstones, nothing moves; eviction costs a few instructions instead of a sweep. With 64 places and a load
// of 0.7 three sets in a thousand overflow before the table is full, and lose their least used entry. Which
// set an entry belongs to depends on a secret, so nobody outside can crowd one.
#pragma once

#include <emmintrin.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "base/huge_pages.h"

namespace sluice::router {

// Entry: a trivially copyable struct with `uint64_t hash`.
template <class Entry>
class AssociativeTable {
 public:
  static constexpr int kWays = 56;

  // At most `budget_bytes`, and at least one set.
  AssociativeTable(uint64_t budget_bytes, uint64_t secret) : secret_(secret) {
    const uint64_t sets = std::max<uint64_t>(budget_bytes / kSetBytes, 1);
    SLUICE_CHECK(sets < std::numeric_limits<uint32_t>::max() / kWays);
    sets_.resize(sets);
    entries_.resize(sets * kWays);
  }

  Entry* find(uint64_t hash) {
    const Place place = place_of(hash);
    Set& set = sets_[place.set];
    for (uint64_t ways = matches(set, place.tag); ways != 0; ways &= ways - 1) {
      Entry& entry = entries_[place.set * kWays + static_cast<uint64_t>(std::countr_zero(ways))];
      if (entry.hash == hash) return &entry;
    }
    return nullptr;
  }

  // find() of many at once: what each waits for overlaps. `found` is as long as `hashes`.
  void find_all(std::span<const uint64_t> hashes, std::span<Entry*> found) {
    for (const uint64_t hash : hashes) __builtin_prefetch(&sets_[place_of(hash).set]);
    for (size_t i = 0; i < hashes.size(); ++i) {
      const Place place = place_of(hashes[i]);
      const uint64_t ways = matches(sets_[place.set], place.tag);
      found[i] =
          ways == 0 ? nullptr : &entries_[place.set * kWays + static_cast<uint64_t>(std::countr_zero(ways))];
      if (found[i] != nullptr) __builtin_prefetch(found[i]);
    }
    for (size_t i = 0; i < hashes.size(); ++i) {
      // Seldom another's tag is the same and comes first.
      if (found[i] != nullptr && found[i]->hash != hashes[i]) found[i] = find(hashes[i]);
    }
  }

  // What is touched is evicted later than what is not.
  void touch(const Entry* entry) {
    const auto at = static_cast<uint64_t>(entry - entries_.data());
    sets_[at / kWays].used |= uint64_t{1} << (at % kWays);
  }

  // A place for `hash`, which must not be in the table. `evict(Entry&)` is called on the entry that loses its
  // place, if one does. The new entry holds the hash alone, all else zero, and counts as untouched.
  template <class Evict>
  Entry* insert(uint64_t hash, Evict&& evict) {
    const Place place = place_of(hash);
    Set& set = sets_[place.set];
    const uint64_t free = matches(set, 0);
    int way;
    if (free != 0) {
      way = std::countr_zero(free);
      ++size_;
    } else {
      // The first untouched place at or behind the hand; those it passes lose their touch.
      way = static_cast<int>(set.hand);
      for (; (set.used >> way & 1) != 0; way = (way + 1) % kWays) set.used &= ~(uint64_t{1} << way);
      set.hand = static_cast<uint64_t>((way + 1) % kWays);
      evict(entries_[place.set * kWays + static_cast<uint64_t>(way)]);
      ++evictions_;
    }
    set.tags[way] = place.tag;
    set.used &= ~(uint64_t{1} << way);
    Entry& entry = entries_[place.set * kWays + static_cast<uint64_t>(way)];
    entry = Entry{};
    entry.hash = hash;
    return &entry;
  }

  void erase(Entry* entry) {
    const auto at = static_cast<uint64_t>(entry - entries_.data());
    sets_[at / kWays].tags[at % kWays] = 0;
    --size_;
  }

  // Calls `visit(Entry&)` on every entry of one set; it may erase the entry it was given.
  template <class Visit>
  void visit_set(uint64_t set, Visit&& visit) {
    for (int way = 0; way < kWays; ++way) {
      if (sets_[set].tags[way] != 0) visit(entries_[set * kWays + static_cast<uint64_t>(way)]);
    }
  }

  uint64_t sets() const { return sets_.size(); }
  uint64_t size() const { return size_; }
  uint64_t capacity() const { return entries_.size(); }
  uint64_t evictions() const { return evictions_; }
  uint64_t bytes() const { return sets_.size() * kSetBytes; }

 private:
  struct alignas(64) Set {      // one cache line
    uint8_t tags[kWays] = {};   // 0: the place is free
    uint64_t used : kWays = 0;  // bit i: place i was touched since the hand passed
    uint64_t hand : 8 = 0;
  };
  static_assert(sizeof(Set) == 64);
  static constexpr uint64_t kSetBytes = sizeof(Set) + kWays * sizeof(Entry);

  struct Place {
    uint64_t set;
    uint8_t tag;
  };

  Place place_of(uint64_t hash) const {
    const uint64_t mixed = hash_combine(secret_, hash);
    const auto set = static_cast<uint64_t>((static_cast<unsigned __int128>(mixed) * sets_.size()) >> 64);
    const auto tag = static_cast<uint8_t>(mixed);  // low bits: the set took the high ones
    return {set, static_cast<uint8_t>(tag == 0 ? 1 : tag)};
  }

  // Bit i: place i has this tag.
  static uint64_t matches(const Set& set, uint8_t tag) {
    uint64_t ways = 0;
    const __m128i wanted = _mm_set1_epi8(static_cast<char>(tag));
    for (int i = 0; i < 64; i += 16) {  // the last eight are no tags
      const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(&set) + i / 16);
      ways |= static_cast<uint64_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(tags, wanted))) << i;
    }
    return ways & ((uint64_t{1} << kWays) - 1);
  }

  const uint64_t secret_;
  std::vector<Set, HugePageAllocator<Set>> sets_;
  std::vector<Entry, HugePageAllocator<Entry>> entries_;
  uint64_t size_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace sluice::router
