#include "router/core/prefix_index.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace sluice::router {

Tick tick_of(Seconds time) {
  return static_cast<Tick>(std::clamp(time * 16, 0.0, 4'000'000'000.0));
}

namespace {
// Of the budget, an eighth for nodes and an eighth for crowds.
uint64_t pool_size(uint64_t budget_bytes, size_t each_bytes) {
  return std::clamp<uint64_t>(budget_bytes / 8 / each_bytes, 2, 0x7fff'ffff);
}
}  // namespace

PrefixIndex::PrefixIndex(const PrefixIndexOptions& options)
    : table_(options.budget_bytes - options.budget_bytes / 4, options.secret),
      nodes_(pool_size(options.budget_bytes, sizeof(Node))),
      crowds_(pool_size(options.budget_bytes, sizeof(Crowd))) {
  for (size_t i = 1; i + 1 < nodes_.size(); ++i) nodes_[i].next = static_cast<uint32_t>(i + 1);
  free_node_ = 1;
  for (size_t i = 1; i + 1 < crowds_.size(); ++i) crowds_[i].next = static_cast<uint32_t>(i + 1);
  free_crowd_ = 1;
}

uint32_t PrefixIndex::take_node() {
  const uint32_t node = free_node_;
  if (node == 0) return 0;
  free_node_ = nodes_[node].next;
  nodes_[node] = Node{};
  return node;
}

void PrefixIndex::give_nodes(uint32_t first) {
  while (first != 0) {
    const uint32_t next = nodes_[first].next;
    nodes_[first].next = free_node_;
    free_node_ = first;
    first = next;
  }
}

// Visit(Tick& placed, HolderId& id_plus_1) on every record in use, not on a crowd; returns true to stop.
template <class Visit>
void PrefixIndex::visit_records(Entry& entry, Visit&& visit) {
  for (int i = 0; i < 2; ++i) {
    if (entry.holder[i] != 0 && visit(entry.placed[i], entry.holder[i])) return;
  }
  if (crowd_of(entry) != nullptr) return;
  for (uint32_t at = entry.more; at != 0; at = nodes_[at].next) {
    Node& node = nodes_[at];
    for (size_t i = 0; i < kNodeRecords; ++i) {
      if (node.holder[i] != 0 && visit(node.placed[i], node.holder[i])) return;
    }
  }
}

std::optional<HolderId> PrefixIndex::add_holder(uint64_t max_blocks) {
  for (int round = 0; round < 2; ++round) {
    for (size_t id = 0; id < kMaxHolders; ++id) {
      Holder& holder = holders_[id];
      if (holder.alive || !holder.swept) continue;
      holder = Holder{.alive = true, .max_blocks = max_blocks};
      alive_.set(id);
      return static_cast<HolderId>(id);
    }
    if (retired_ == 0) break;
    sweep(2 * table_.sets());  // every id is taken: clean up at once, whatever it costs
  }
  return std::nullopt;
}

void PrefixIndex::retire(HolderId id) {
  Holder& holder = holders_[id];
  SLUICE_CHECK(holder.alive);
  holder.alive = false;
  alive_.reset(id);
  holder.swept = false;
  holder.sweep_end = swept_sets_ + table_.sets();
  ++retired_;
}

void PrefixIndex::sweep(uint64_t sets) {
  for (; sets > 0 && retired_ > 0; --sets) {
    table_.visit_set(swept_sets_ % table_.sets(), [&](Entry& entry) {
      if (!prune(entry)) return;
      forget(entry);
      table_.erase(&entry);
    });
    ++swept_sets_;
  }
  for (Holder& holder : holders_) {
    if (holder.alive || holder.swept || holder.sweep_end > swept_sets_) continue;
    holder.swept = true;
    --retired_;
  }
}

bool PrefixIndex::prune(Entry& entry) {
  bool anyone = false;
  visit_records(entry, [&](Tick&, HolderId& id) {
    if (holders_[id - 1U].alive) {
      anyone = true;
    } else {
      id = 0;
    }
    return false;
  });
  if (Crowd* crowd = crowd_of(entry)) {
    crowd->exact &= alive_;
    for (HolderSet& placed : crowd->placed) placed &= alive_;
    anyone |= (crowd->exact | crowd->placed[0] | crowd->placed[1]).any();
  }
  return !anyone;
}

void PrefixIndex::forget(Entry& entry) {
  visit_records(entry, [&](Tick& placed, HolderId& id) {
    if (placed == kExact) --holders_[id - 1U].blocks;
    return false;
  });
  if (const Crowd* crowd = crowd_of(entry)) {
    for (size_t h = crowd->exact._Find_first(); h < kMaxHolders; h = crowd->exact._Find_next(h)) {
      --holders_[h].blocks;
    }
    disperse(entry);
  } else {
    give_nodes(entry.more);
  }
}

// All records of a node and the entry become bits.
PrefixIndex::Crowd* PrefixIndex::gather_crowd(Entry& entry) {
  const uint32_t at = free_crowd_;
  if (at == 0) return nullptr;
  free_crowd_ = crowds_[at].next;
  Crowd& crowd = crowds_[at];
  crowd = Crowd{};
  visit_records(entry, [&](Tick& placed, HolderId& id) {
    if (placed == kExact) {
      crowd.exact.set(id - 1U);
    } else if (counts(id, placed)) {
      crowd.placed[0].set(id - 1U);
      crowd.latest[0] = std::max(crowd.latest[0], placed);
    }
    id = 0;
    return false;
  });
  crowd.since = crowd.latest[0];
  give_nodes(entry.more);
  entry.more = at | kCrowd;
  return &crowd;
}

void PrefixIndex::disperse(Entry& entry) {
  const uint32_t at = entry.more & ~kCrowd;
  crowds_[at].next = free_crowd_;
  free_crowd_ = at;
  entry.more = 0;
}

bool PrefixIndex::believed(const Crowd& crowd, HolderId holder) const {
  if (!holders_[holder].alive) return false;
  if (crowd.exact[holder]) return true;
  const Tick horizon = holders_[holder].horizon;
  return (crowd.placed[0][holder] && crowd.latest[0] >= horizon) ||
         (crowd.placed[1][holder] && crowd.latest[1] >= horizon);
}

PrefixIndex::Entry* PrefixIndex::find_or_insert(uint64_t hash, uint64_t parent) {
  Entry* entry = table_.find(hash);
  if (entry != nullptr) return entry;
  entry = table_.insert(hash, [&](Entry& evicted) { forget(evicted); });
  entry->parent = parent;
  return entry;
}

PrefixIndex::Record PrefixIndex::find_record(Entry& entry, HolderId holder) {
  Record found;
  visit_records(entry, [&](Tick& placed, HolderId& id) {
    if (id != holder + 1) return false;
    found = {&placed, &id};
    return true;
  });
  return found;
}

// A place for one more holder: a free one, one whose owner is gone or whose time is over, or a new node's.
PrefixIndex::Record PrefixIndex::free_record(Entry& entry) {
  const auto is_free = [&](Tick placed, HolderId id) {
    return id == 0 || !holders_[id - 1U].alive || !counts(id, placed);
  };
  for (int i = 0; i < 2; ++i) {
    if (is_free(entry.placed[i], entry.holder[i])) return {&entry.placed[i], &entry.holder[i]};
  }
  for (uint32_t at = entry.more; at != 0; at = nodes_[at].next) {
    Node& node = nodes_[at];
    for (size_t i = 0; i < kNodeRecords; ++i) {
      if (is_free(node.placed[i], node.holder[i])) return {&node.placed[i], &node.holder[i]};
    }
  }
  const uint32_t node = take_node();
  if (node == 0) {
    ++unrecorded_;
    return {};
  }
  nodes_[node].next = entry.more;
  entry.more = node;
  return {&nodes_[node].placed[0], &nodes_[node].holder[0]};
}

// Before another record: a crowd, if there is one or the node is full.
PrefixIndex::Crowd* PrefixIndex::crowd_for(Entry& entry) {
  if (Crowd* crowd = crowd_of(entry)) return crowd;
  if (entry.more == 0) return nullptr;
  size_t records = 0;
  visit_records(entry, [&](Tick placed, HolderId id) {
    records += counts(id, placed) ? 1 : 0;
    return false;
  });
  return records < 2 + kNodeRecords ? nullptr : gather_crowd(entry);
}

bool PrefixIndex::store(HolderId id, uint64_t hash, uint64_t parent) {
  Holder& holder = holders_[id];
  SLUICE_CHECK(holder.alive);
  if (holder.blocks >= holder.max_blocks) {
    ++refused_;
    return false;
  }
  Entry& entry = *find_or_insert(hash, parent);
  Record record = find_record(entry, id);
  if (record.holder == nullptr) {
    if (Crowd* crowd = crowd_for(entry)) {
      holder.blocks += crowd->exact[id] ? 0 : 1;
      crowd->exact.set(id);
      return true;
    }
    record = free_record(entry);
  }
  if (record.holder == nullptr) return true;
  if (*record.holder != id + 1 || *record.placed != kExact) ++holder.blocks;
  *record.holder = static_cast<HolderId>(id + 1);
  *record.placed = kExact;
  return true;
}

void PrefixIndex::evict(HolderId id, uint64_t hash) {
  Entry* entry = table_.find(hash);
  if (entry == nullptr) return;
  if (Crowd* crowd = crowd_of(*entry)) {
    holders_[id].blocks -= crowd->exact[id] ? 1 : 0;
    crowd->exact.reset(id);
    for (HolderSet& placed : crowd->placed) placed.reset(id);
    if ((crowd->exact | crowd->placed[0] | crowd->placed[1]).none()) disperse(*entry);
  }
  const Record record = find_record(*entry, id);
  if (record.holder == nullptr) return erase_if_empty(entry);
  if (*record.placed == kExact) --holders_[id].blocks;
  *record.holder = 0;
  if (crowd_of(*entry) == nullptr) shrink(*entry);
  erase_if_empty(entry);
}

void PrefixIndex::erase_if_empty(Entry* entry) {
  if (entry->more == 0 && entry->holder[0] == 0 && entry->holder[1] == 0) table_.erase(entry);
}

// Empty nodes go back, so that a block that was hot once does not keep them.
void PrefixIndex::shrink(Entry& entry) {
  for (uint32_t* link = &entry.more; *link != 0;) {
    Node& node = nodes_[*link];
    if (std::ranges::any_of(node.holder, [](HolderId id) { return id != 0; })) {
      link = &node.next;
    } else {
      const uint32_t empty = *link;
      *link = node.next;
      node.next = 0;
      give_nodes(empty);
    }
  }
}

void PrefixIndex::place(HolderId id, uint64_t hash, uint64_t parent, Tick when) {
  SLUICE_CHECK(holders_[id].alive);
  Entry& entry = *find_or_insert(hash, parent);
  table_.touch(&entry);
  when = std::min(when, kExact - 1);
  Record record = find_record(entry, id);
  if (record.holder == nullptr) {
    if (Crowd* crowd = crowd_for(entry)) {
      if (when > crowd->since + kGeneration) {
        crowd->placed[1] = std::exchange(crowd->placed[0], HolderSet{});
        crowd->latest[1] = std::exchange(crowd->latest[0], 0);
        crowd->since = when;
      }
      crowd->placed[0].set(id);
      crowd->latest[0] = std::max(crowd->latest[0], when);
      return;
    }
    record = free_record(entry);
  }
  if (record.holder == nullptr) return;
  if (*record.holder == id + 1 && *record.placed == kExact) return;
  *record.placed = *record.holder == id + 1 ? std::max(*record.placed, when) : when;
  *record.holder = static_cast<HolderId>(id + 1);
}

void PrefixIndex::add_holders_of(std::span<const uint64_t> hashes, std::span<Answer> answers) {
  std::array<Entry*, kMaxAsked> found;
  SLUICE_CHECK(hashes.size() <= kMaxAsked && hashes.size() == answers.size());
  table_.find_all(hashes, found);
  for (size_t i = 0; i < hashes.size(); ++i) {
    if (found[i] == nullptr || found[i]->more == 0) continue;
    if (const Crowd* crowd = crowd_of(*found[i])) {
      for (size_t at = 0; at < sizeof(Crowd); at += 64) {
        __builtin_prefetch(reinterpret_cast<const char*>(crowd) + at);
      }
    } else {
      __builtin_prefetch(&nodes_[found[i]->more]);
    }
  }
  for (size_t i = 0; i < hashes.size(); ++i) {
    if (found[i] == nullptr) continue;
    table_.touch(found[i]);
    answers[i].known = true;
    add_holders(*found[i], answers[i].holders);
  }
}

void PrefixIndex::add_holders(Entry& entry, HolderSet& set) {
  visit_records(entry, [&](Tick placed, HolderId id) {
    if (counts(id, placed)) set.set(id - 1U);
    return false;
  });
  const Crowd* crowd = crowd_of(entry);
  if (crowd == nullptr) return;
  set |= crowd->exact & alive_;
  for (int generation = 0; generation < 2; ++generation) {
    if (crowd->latest[generation] == 0) continue;
    const HolderSet& placed = crowd->placed[generation];
    for (size_t h = placed._Find_first(); h < kMaxHolders; h = placed._Find_next(h)) {
      if (believed(*crowd, static_cast<HolderId>(h))) set.set(h);
    }
  }
}

bool PrefixIndex::holds(HolderId holder, uint64_t hash) {
  Entry* entry = table_.find(hash);
  if (entry == nullptr) return false;
  if (const Crowd* crowd = crowd_of(*entry); crowd != nullptr && believed(*crowd, holder)) return true;
  const Record record = find_record(*entry, holder);
  return record.holder != nullptr && counts(*record.holder, *record.placed);
}

std::optional<uint64_t> PrefixIndex::parent_of(uint64_t hash) {
  const Entry* entry = table_.find(hash);
  if (entry == nullptr) return std::nullopt;
  return entry->parent;
}

void PrefixIndex::touch(uint64_t hash) {
  if (const Entry* entry = table_.find(hash); entry != nullptr) table_.touch(entry);
}

PrefixIndexStats PrefixIndex::stats() const {
  return {.blocks = table_.size(),
          .capacity_blocks = table_.capacity(),
          .bytes = table_.bytes() + nodes_.size() * sizeof(Node) + crowds_.size() * sizeof(Crowd),
          .evictions = table_.evictions(),
          .unrecorded_holders = unrecorded_,
          .refused_reports = refused_};
}

}  // namespace sluice::router
