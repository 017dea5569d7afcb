#include "router/core/knowledge.h"

#include <algorithm>

namespace sluice::router {
namespace {

// A replica may tell a little more blocks than it says it has: events cross.
uint64_t block_limit(const Replica& replica) {
  const uint64_t blocks = replica.spec.kv_tokens / std::max(replica.spec.block_tokens, 1U);
  return blocks + blocks / 8 + 64;
}

}  // namespace

KvKnowledge::KvKnowledge(PrefixIndex& index, Replica& replica) : index_(index), replica_(replica) {
  replica_.knowledge = Knowledge::kRepairing;
  index_.set_limit(replica_.holder, block_limit(replica_));
}

KvKnowledge::~KvKnowledge() {
  if (filling_ != kNoHolder) index_.retire(filling_);
}

KvKnowledge::Verdict KvKnowledge::lost_track() {
  if (filling_ != kNoHolder) index_.retire(filling_);
  filling_ = kNoHolder;
  awaiting_ = true;
  replica_.knowledge = Knowledge::kRepairing;
  if (asked_) return Verdict::kIgnored;
  asked_ = true;
  ++gaps_;
  return Verdict::kNeedsSnapshot;
}

void KvKnowledge::disconnected() {
  // The one who reconnects asks for a snapshot by itself.
  lost_track();
  asked_ = true;
}

void KvKnowledge::begin_snapshot(const KvEvent& event) {
  if (filling_ != kNoHolder) index_.retire(filling_);
  const auto holder = index_.add_holder(block_limit(replica_));
  filling_ = holder.value_or(kNoHolder);
  epoch_ = event.epoch;
  sequence_ = event.sequence;
  awaiting_ = filling_ == kNoHolder;
  asked_ = false;
}

void KvKnowledge::end_snapshot() {
  if (filling_ == kNoHolder) return;
  if (replica_.holder != kNoHolder) index_.retire(replica_.holder);
  replica_.holder = filling_;
  filling_ = kNoHolder;
  replica_.knowledge = Knowledge::kExact;
  ++repairs_;
}

KvKnowledge::Verdict KvKnowledge::apply(const KvEvent& event) {
  using Kind = KvEvent::Kind;
  if (event.kind == Kind::kSnapshotBegin) {
    begin_snapshot(event);
    return Verdict::kApplied;
  }
  if (awaiting_) return asked_ ? Verdict::kIgnored : lost_track();
  if (event.epoch != epoch_) return lost_track();
  if (filling_ != kNoHolder) {  // within a snapshot only its own lines come
    if (event.kind == Kind::kStored) {
      index_.store(filling_, event.hash, event.parent);
    } else if (event.kind == Kind::kSnapshotEnd) {
      end_snapshot();
    } else {
      return lost_track();
    }
    return Verdict::kApplied;
  }
  if (event.sequence <= sequence_) return Verdict::kIgnored;
  if (event.sequence != sequence_ + 1) return lost_track();
  sequence_ = event.sequence;
  switch (event.kind) {
    case Kind::kStored:
      index_.store(replica_.holder, event.hash, event.parent);
      break;
    case Kind::kEvicted:
      index_.evict(replica_.holder, event.hash);
      break;
    case Kind::kCleared:
      if (const auto holder = index_.add_holder(block_limit(replica_))) {
        index_.retire(replica_.holder);
        replica_.holder = *holder;
      }
      break;
    default:
      break;
  }
  return Verdict::kApplied;
}

}  // namespace sluice::router
