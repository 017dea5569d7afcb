#include "router/core/prefix_index.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::router {

Tick tick_of(Seconds time) {
  return static_cast<Tick>(std::clamp(time * 16, 0.0, 4'000'000'000.0));
}

namespace {
// Of the budget: an eighth for nodes holds nine further holders of one block in sixteen.
uint64_t node_count(uint64_t budget_bytes, size_t node_bytes) {
  return std::clamp<uint64_t>(budget_bytes / 8 / node_bytes, 2, 0xffff'ffff);
}
}  // namespace

PrefixIndex::PrefixIndex(const PrefixIndexOptions& options)
    : table_(options.budget_bytes - options.budget_bytes / 8, options.secret),
      nodes_(node_count(options.budget_bytes, sizeof(Node))) {
  for (size_t i = 1; i + 1 < nodes_.size(); ++i) nodes_[i].next = static_cast<uint32_t>(i + 1);
  free_node_ = 1;
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

// Visit(Tick& placed, HolderId& id_plus_1) on every record in use; returns true to stop.
template <class Visit>
void PrefixIndex::visit_records(Entry& entry, Visit&& visit) {
  for (int i = 0; i < 2; ++i) {
    if (entry.holder[i] != 0 && visit(entry.placed[i], entry.holder[i])) return;
  }
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
  holder.swept = false;
  holder.sweep_end = swept_sets_ + table_.sets();
  ++retired_;
}

void PrefixIndex::sweep(uint64_t sets) {
  for (; sets > 0 && retired_ > 0; --sets) {
    table_.visit_set(swept_sets_ % table_.sets(), [&](Entry& entry) {
      if (prune(entry)) {
        give_nodes(entry.more);
        table_.erase(&entry);
      }
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
  return !anyone;
}

void PrefixIndex::forget(Entry& entry) {
  visit_records(entry, [&](Tick& placed, HolderId& id) {
    if (placed == kExact) --holders_[id - 1U].blocks;
    return false;
  });
  give_nodes(entry.more);
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

bool PrefixIndex::store(HolderId id, uint64_t hash, uint64_t parent) {
  Holder& holder = holders_[id];
  SLUICE_CHECK(holder.alive);
  if (holder.blocks >= holder.max_blocks) {
    ++refused_;
    return false;
  }
  Entry& entry = *find_or_insert(hash, parent);
  Record record = find_record(entry, id);
  if (record.holder == nullptr) record = free_record(entry);
  if (record.holder == nullptr) return true;
  if (*record.holder != id + 1 || *record.placed != kExact) ++holder.blocks;
  *record.holder = static_cast<HolderId>(id + 1);
  *record.placed = kExact;
  return true;
}

void PrefixIndex::evict(HolderId id, uint64_t hash) {
  Entry* entry = table_.find(hash);
  if (entry == nullptr) return;
  const Record record = find_record(*entry, id);
  if (record.holder == nullptr) return;
  if (*record.placed == kExact) --holders_[id].blocks;
  *record.holder = 0;
  shrink(*entry);
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
  Record record = find_record(entry, id);
  if (record.holder == nullptr) record = free_record(entry);
  if (record.holder == nullptr) return;
  if (*record.holder == id + 1 && *record.placed == kExact) return;
  *record.placed = *record.holder == id + 1 ? std::max(*record.placed, when) : when;
  *record.placed = std::min(*record.placed, kExact - 1);
  *record.holder = static_cast<HolderId>(id + 1);
}

bool PrefixIndex::add_holders_of(uint64_t hash, HolderSet& set) {
  Entry* entry = table_.find(hash);
  if (entry == nullptr) return false;
  table_.touch(entry);
  visit_records(*entry, [&](Tick placed, HolderId id) {
    if (counts(id, placed)) set.set(id - 1U);
    return false;
  });
  return true;
}

bool PrefixIndex::holds(HolderId holder, uint64_t hash) {
  Entry* entry = table_.find(hash);
  if (entry == nullptr) return false;
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
          .bytes = table_.bytes() + nodes_.size() * sizeof(Node),
          .evictions = table_.evictions(),
          .unrecorded_holders = unrecorded_,
          .refused_reports = refused_};
}

}  // namespace sluice::router
