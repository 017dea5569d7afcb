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
  // Without a snapshot half read, what was applied up to here is whole, and a stream may go on from here.
  if (filling_ != kNoHolder) whole_ = false;
  drop_snapshot();
  awaiting_ = true;
  replica_.knowledge = Knowledge::kRepairing;
  if (asked_) return Verdict::kIgnored;
  asked_ = true;
  ++gaps_;
  return Verdict::kNeedsSnapshot;
}

void KvKnowledge::drop_snapshot() {
  if (filling_ != kNoHolder) index_.retire(filling_);
  filling_ = kNoHolder;
}

void KvKnowledge::disconnected() {
  // Who connects again asks for what it needs by itself.
  if (filling_ != kNoHolder) whole_ = false;
  drop_snapshot();
  awaiting_ = true;
  asked_ = true;
  replica_.knowledge = Knowledge::kRepairing;
}

std::optional<KvPlace> KvKnowledge::place() const {
  if (!whole_) return std::nullopt;
  return KvPlace{epoch_, sequence_ + 1};
}

void KvKnowledge::begin_snapshot(const KvEvent& event) {
  drop_snapshot();
  filling_ = index_.add_holder(block_limit(replica_)).value_or(kNoHolder);
  replica_.knowledge = Knowledge::kRepairing;
  whole_ = false;
  epoch_ = event.epoch;
  sequence_ = event.sequence;
  settled_ = 0;
  awaiting_ = filling_ == kNoHolder;
  asked_ = awaiting_;
}

void KvKnowledge::resume(const KvEvent& event) {
  if (!whole_ || event.epoch != epoch_ || event.sequence != sequence_ + 1) return;
  awaiting_ = asked_ = false;
  replica_.knowledge = Knowledge::kExact;
}

void KvKnowledge::end_snapshot() {
  index_.retire(replica_.holder);
  replica_.holder = filling_;
  filling_ = kNoHolder;
  replica_.knowledge = Knowledge::kExact;
  whole_ = true;
  ++repairs_;
}

KvKnowledge::Verdict KvKnowledge::apply(const KvEvent& event) {
  using Kind = KvEvent::Kind;
  if (event.kind == Kind::kSnapshotBegin) {
    begin_snapshot(event);
    return Verdict::kApplied;
  }
  if (event.kind == Kind::kResumed) {
    resume(event);
    return awaiting_ ? lost_track() : Verdict::kApplied;
  }
  if (awaiting_) return asked_ ? Verdict::kIgnored : lost_track();
  if (event.epoch != epoch_) return lost_track();
  if (event.kind == Kind::kHeld || event.kind == Kind::kSnapshotEnd) {
    if (filling_ == kNoHolder) return Verdict::kIgnored;
    if (event.kind == Kind::kHeld) {
      index_.store(filling_, event.hash, event.parent);
    } else {
      settled_ = std::max<uint64_t>(event.sequence, 1);
    }
  } else {
    if (event.sequence <= sequence_) return Verdict::kIgnored;
    if (event.sequence != sequence_ + 1) return lost_track();
    sequence_ = event.sequence;
    apply_to(filling_ != kNoHolder ? filling_ : replica_.holder, event);
  }
  if (filling_ != kNoHolder && settled_ > 0 && sequence_ + 1 >= settled_) end_snapshot();
  return Verdict::kApplied;
}

void KvKnowledge::apply_to(HolderId holder, const KvEvent& event) {
  if (event.kind == KvEvent::Kind::kStored) index_.store(holder, event.hash, event.parent);
  if (event.kind == KvEvent::Kind::kEvicted) index_.evict(holder, event.hash);
}

}  // namespace sluice::router
