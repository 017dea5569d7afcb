// Keeps the index true to one replica's events: applies them in order, notices gaps and restarts, and repairs
// from a snapshot. One of these for each replica that streams events. One thread; reads no clock.
//
//   EXACT --gap, restart, lost connection--> REPAIRING --snapshot complete--> EXACT
//
// While a snapshot comes in, it fills a holder of its own; the old one counts until the new is complete. A
// replica that reports more blocks than it can have, or restarts its snapshot for ever, only hurts itself.
#pragma once

#include <cstdint>
#include <optional>

#include "router/core/kv_event.h"
#include "router/core/prefix_index.h"
#include "router/core/replica.h"

namespace sluice::router {

struct KvPlace {
  uint64_t epoch = 0;
  uint64_t sequence = 0;  // of the next event
};

class KvKnowledge {
 public:
  KvKnowledge(PrefixIndex& index, Replica& replica);
  ~KvKnowledge();
  KvKnowledge(const KvKnowledge&) = delete;
  KvKnowledge& operator=(const KvKnowledge&) = delete;

  enum class Verdict {
    kApplied,
    kIgnored,        // old, or told while a snapshot is awaited
    kNeedsSnapshot,  // a gap or another epoch: the caller asks for one, once
  };
  // Events on blocks and snapshots are used up here; the others are only judged by their sequence.
  Verdict apply(const KvEvent& event);
  // The stream broke: what is told from now on may have a gap before it.
  void disconnected();

  uint64_t gaps() const { return gaps_; }
  uint64_t repairs() const { return repairs_; }
  uint64_t sequence() const { return sequence_; }
  // Where a new connection may ask to go on: behind the last event that was applied. None: it needs a
  // snapshot.
  std::optional<KvPlace> place() const;

 private:
  Verdict lost_track();
  void drop_snapshot();
  void resume(const KvEvent& event);
  void apply_to(HolderId holder, const KvEvent& event);
  void begin_snapshot(const KvEvent& event);
  void end_snapshot();

  PrefixIndex& index_;
  Replica& replica_;
  HolderId filling_ = kNoHolder;  // of a snapshot that is coming in
  bool awaiting_ = true;          // a snapshot must come before anything counts
  bool asked_ = false;
  bool whole_ = false;    // the holder has all up to sequence_
  uint64_t settled_ = 0;  // 0: the snapshot goes on
  uint64_t epoch_ = 0;
  uint64_t sequence_ = 0;
  uint64_t gaps_ = 0;
  uint64_t repairs_ = 0;
};

}  // namespace sluice::router
