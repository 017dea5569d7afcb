#include "engine/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <string>

#include "base/check.h"

namespace sluice {

PrefixCache::PrefixCache(int64_t block_count, int block_tokens, BlockHash hash)
    : block_tokens_(static_cast<size_t>(block_tokens)),
      hash_(hash),
      entries_(static_cast<size_t>(block_count)),
      tokens_(std::make_unique_for_overwrite<int32_t[]>(static_cast<size_t>(block_count) * block_tokens_)),
      buckets_(std::bit_ceil(static_cast<size_t>(block_count) + 1), kNone) {}

PrefixChain PrefixCache::start(uint64_t salt) {
  return {.hash = prefix_seed(salt), .parent = salt, .depth = 0};
}

std::span<const int32_t> PrefixCache::tokens_of(int32_t block) const {
  return {tokens_.get() + static_cast<size_t>(block) * block_tokens_, block_tokens_};
}

bool PrefixCache::matches(int32_t block, const PrefixChain& chain, std::span<const int32_t> tokens) const {
  const Entry& e = entries_[static_cast<size_t>(block)];
  return e.parent == chain.parent && e.depth == chain.depth && std::ranges::equal(tokens_of(block), tokens);
}

int32_t PrefixCache::find_hash(uint64_t hash) const {
  int32_t block = buckets_[(hash >> 7) & (buckets_.size() - 1)];
  while (block != kNone && entries_[static_cast<size_t>(block)].hash != hash) {
    block = entries_[static_cast<size_t>(block)].next;
  }
  return block;
}

int32_t PrefixCache::find(PrefixChain& chain, std::span<const int32_t> tokens) const {
  SLUICE_CHECK_EQ(tokens.size(), block_tokens_);
  const uint64_t hash = hash_(chain.hash, tokens);
  const int32_t block = find_hash(hash);
  if (block == kNone || !matches(block, chain, tokens)) return kNone;
  chain = {.hash = hash, .parent = entries_[static_cast<size_t>(block)].number, .depth = chain.depth + 1};
  return block;
}

PrefixCache::Added PrefixCache::add(PrefixChain& chain, std::span<const int32_t> tokens, int32_t block) {
  SLUICE_CHECK_EQ(tokens.size(), block_tokens_);
  SLUICE_CHECK(!holds(block));
  const uint64_t hash = hash_(chain.hash, tokens);
  Added added{.holder = block};
  if (const int32_t other = find_hash(hash); other != kNone) {
    if (matches(other, chain, tokens)) {
      chain = {.hash = hash, .parent = entries_[static_cast<size_t>(other)].number, .depth = chain.depth + 1};
      added.holder = other;
      return added;
    }
    // One entry per hash: the newer wins. What stood behind the older is never matched again and ages out.
    forget(other);
    added.displaced = other;
  }
  std::ranges::copy(tokens, tokens_.get() + static_cast<size_t>(block) * block_tokens_);
  int32_t& head = bucket_of(hash);
  at(block) = {.hash = hash,
               .parent_hash = chain.hash,
               .parent = chain.parent,
               .number = ++last_number_,
               .depth = chain.depth,
               .next = head};
  head = block;
  link_newest(block);
  ++size_;
  if (watch_ != nullptr) watch_->stored(hash, chain.hash);
  chain = {.hash = hash, .parent = last_number_, .depth = chain.depth + 1};
  return added;
}

void PrefixCache::forget(int32_t block) {
  if (!holds(block)) return;
  Entry& e = entries_[static_cast<size_t>(block)];
  int32_t* link = &bucket_of(e.hash);
  while (*link != block) link = &entries_[static_cast<size_t>(*link)].next;
  *link = e.next;
  if (watch_ != nullptr) watch_->evicted(e.hash);
  unlink(block);
  e = Entry{};
  --size_;
}

void PrefixCache::link_newest(int32_t block) {
  at(block).older = newest_;
  (newest_ == kNone ? oldest_ : at(newest_).newer) = block;
  newest_ = block;
}

void PrefixCache::unlink(int32_t block) {
  const Entry& e = at(block);
  for (Walk* walk : walks_) {
    if (walk->next == block) walk->next = e.newer;
  }
  (e.older == kNone ? oldest_ : at(e.older).newer) = e.newer;
  (e.newer == kNone ? newest_ : at(e.newer).older) = e.older;
}

void PrefixCache::begin(Walk& walk) {
  SLUICE_CHECK(!walk.begun);
  walk.next = oldest_;
  walk.last_number = last_number_;
  walk.begun = true;
  walks_.push_back(&walk);
}

bool PrefixCache::advance(Walk& walk, size_t count, std::vector<Held>& out) {
  SLUICE_CHECK(walk.begun);
  const auto more = [&] { return walk.next != kNone && at(walk.next).number <= walk.last_number; };
  for (; count > 0 && more(); --count) {
    const Entry& e = at(walk.next);
    out.push_back({e.hash, e.parent_hash});
    walk.next = e.newer;
  }
  return more();
}

PrefixCache::Held PrefixCache::held(int32_t block) const {
  SLUICE_CHECK(holds(block));
  const Entry& e = entries_[static_cast<size_t>(block)];
  return {e.hash, e.parent_hash};
}

void PrefixCache::end(Walk& walk) {
  if (!walk.begun) return;
  std::erase(walks_, &walk);
  walk.begun = false;
}

}  // namespace sluice
