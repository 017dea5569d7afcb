#include "engine/kv_events.h"

#include <algorithm>

#include "base/check.h"

namespace sluice {
namespace {

// Blocks of a snapshot that are gathered after one step: some tens of microseconds of the engine's time.
constexpr size_t kPieceBlocks = 4096;
constexpr size_t kGathered = 1024;  // events of a step for which there is room at once

}  // namespace

// The events that readers may still read: [first, next). The mutex is held for a copy of at most a step's
// events by the engine, and of a batch by a reader.
struct KvEventRing {
  KvEventRing(uint64_t epoch, size_t capacity) : epoch(epoch), capacity(capacity) {}

  void put(const KvEvent& event) {
    if (slots.size() < capacity)
      slots.push_back(event);
    else
      at(next) = event;
    if (++next - first > capacity) ++first;
  }
  KvEvent& at(uint64_t sequence) { return slots[(sequence - 1) % capacity]; }

  const uint64_t epoch;
  const size_t capacity;
  std::mutex mutex;
  std::vector<KvEvent> slots;  // grows to `capacity`
  uint64_t first = 1, next = 1;
  int readers = 0;
  bool closed = false;
};

// Shared by a reader and the engine; guarded by the ring's mutex where nothing else is said.
struct KvEventCursor {
  std::optional<uint64_t> from;               // never changes
  std::shared_ptr<KvEventListener> listener;  // likewise
  std::optional<KvEventReader::Start> start;
  uint64_t at = 0;  // the event that is read next, behind the snapshot
  bool told = false;
  bool ended = false;  // the reader is gone

  enum class Snapshot : uint8_t { kNone, kTaken, kReady };
  Snapshot snapshot = Snapshot::kNone;
  std::vector<PrefixCache::Held> held;
  size_t held_read = 0;
  uint64_t settled = 0;  // the snapshot was complete before this event
};

// ---- the reader's side ----

KvEventReader::KvEventReader(std::shared_ptr<KvEventRing> ring, std::shared_ptr<KvEventCursor> cursor)
    : ring_(std::move(ring)), cursor_(std::move(cursor)) {}

KvEventReader::~KvEventReader() {
  std::lock_guard lock(ring_->mutex);
  cursor_->ended = true;
  --ring_->readers;
}

std::optional<KvEventReader::Start> KvEventReader::start() const {
  std::lock_guard lock(ring_->mutex);
  return cursor_->start;
}

KvEventReader::State KvEventReader::read(std::vector<KvEvent>& out) {
  KvEventCursor& c = *cursor_;
  std::lock_guard lock(ring_->mutex);
  c.told = false;
  const size_t full = out.size() + kBatch;
  if (c.start) {
    if (c.at < ring_->first) return State::kLost;
    if (c.snapshot == KvEventCursor::Snapshot::kReady) read_snapshot(full, out);
    if (c.snapshot == KvEventCursor::Snapshot::kNone) {
      while (out.size() < full && c.at < ring_->next) out.push_back(ring_->at(c.at++));
    }
  }
  return ring_->closed && out.empty() ? State::kClosed : State::kOpen;
}

void KvEventReader::read_snapshot(size_t full, std::vector<KvEvent>& out) {
  KvEventCursor& c = *cursor_;
  while (out.size() < full && c.held_read < c.held.size()) {
    const PrefixCache::Held& held = c.held[c.held_read++];
    KvEvent& event = out.emplace_back();
    event.kind = KvEvent::Kind::kHeld;
    event.hash = held.hash;
    event.parent = held.parent;
  }
  if (out.size() == full) return;
  KvEvent& event = out.emplace_back();
  event.kind = KvEvent::Kind::kHeldAll;
  event.sequence = c.settled;
  c.snapshot = KvEventCursor::Snapshot::kNone;
  std::vector<PrefixCache::Held>().swap(c.held);
}

// ---- the engine's side ----

KvEventFeed::KvEventFeed(uint64_t epoch, size_t capacity)
    : ring_(std::make_shared<KvEventRing>(epoch, capacity)) {}

KvEventFeed::~KvEventFeed() {
  close();
}

Result<KvEventFeed::Opened> KvEventFeed::open(std::optional<KvEventPlace> from,
                                              std::shared_ptr<KvEventListener> listener) {
  {
    std::lock_guard lock(ring_->mutex);
    if (ring_->closed) return Error{ErrorCode::kUnavailable, "The server is shutting down.", "", 5};
    if (ring_->readers >= kMaxReaders) {
      return Error{ErrorCode::kOverloaded,
                   "The events have " + std::to_string(kMaxReaders) + " readers already; try again later.",
                   "", 5};
    }
    ++ring_->readers;
  }
  auto cursor = std::make_shared<KvEventCursor>();
  if (from && from->epoch.value_or(ring_->epoch) == ring_->epoch) cursor->from = from->sequence;
  cursor->listener = std::move(listener);
  return Opened{std::unique_ptr<KvEventReader>(new KvEventReader(ring_, cursor)), cursor};
}

void KvEventFeed::attach(std::shared_ptr<KvEventCursor> cursor, PrefixCache& cache) {
  if (!on_) {
    on_ = true;
    gathered_.reserve(kGathered);
    cache.watch(this);
  }
  publish(cache);  // what was gathered belongs before the reader's begin
  bool resumes = false;
  {
    std::lock_guard lock(ring_->mutex);
    resumes = cursor->from && *cursor->from >= ring_->first && *cursor->from <= ring_->next;
    cursor->at = resumes ? *cursor->from : ring_->next;
    cursor->start = {ring_->epoch, cursor->at, resumes};
    if (!resumes) cursor->snapshot = KvEventCursor::Snapshot::kTaken;
    cursor->told = true;
  }
  cursor->listener->events_ready();
  auto& reading = *readings_.emplace_back(std::make_unique<Reading>());
  reading.cursor = std::move(cursor);
  reading.walks = !resumes;
  if (!resumes) cache.begin(reading.walk);
  moved_ = true;
  last_load_ = {};  // a load line follows at once
}

KvEvent& KvEventFeed::gather(KvEvent::Kind kind) {
  KvEvent& event = gathered_.emplace_back();
  event.kind = kind;
  event.sequence = next_++;
  return event;
}

KvEvent& KvEventFeed::gather(KvEvent::Kind kind, Name name) {
  KvEvent& event = gather(kind);
  event.choice = name.choice;
  event.name_size = static_cast<uint8_t>(std::min(name.text.size(), KvEvent::kMaxName));
  std::copy_n(name.text.begin(), event.name_size, event.name_bytes.begin());
  return event;
}

void KvEventFeed::stored(uint64_t hash, uint64_t parent) {
  KvEvent& event = gather(KvEvent::Kind::kStored);
  event.hash = hash;
  event.parent = parent;
}

void KvEventFeed::evicted(uint64_t hash) {
  gather(KvEvent::Kind::kEvicted).hash = hash;
}

void KvEventFeed::admitted(Name name, Prompt prompt) {
  if (!on_) return;
  KvEvent& event = gather(KvEvent::Kind::kAdmitted, name);
  event.prompt_tokens = prompt.tokens;
  event.cached_tokens = prompt.cached_tokens;
  event.prompt_blocks = prompt.blocks;
  event.hash = prompt.hash;
}

void KvEventFeed::prefilled(Name name) {
  if (on_) gather(KvEvent::Kind::kPrefilled, name);
}

void KvEventFeed::finished(Name name, FinishReason reason, int32_t generated) {
  if (!on_) return;
  KvEvent& event = gather(KvEvent::Kind::kFinished, name);
  event.reason = reason;
  event.generated = generated;
}

bool KvEventFeed::load_due(Clock::time_point now, bool moved) {
  if (!on_) return false;
  moved_ = moved_ || moved || !gathered_.empty();
  return moved_ && now - last_load_ >= kLoadInterval;
}

void KvEventFeed::load(const KvLoad& load, Clock::time_point now) {
  gather(KvEvent::Kind::kLoad).load = load;
  moved_ = false;
  last_load_ = now;
}

void KvEventFeed::publish(PrefixCache& cache) {
  if (!on_) return;
  drop_ended(cache);
  const bool news = !gathered_.empty();
  if (news) {
    std::lock_guard lock(ring_->mutex);
    for (const KvEvent& event : gathered_) ring_->put(event);
    SLUICE_CHECK_EQ(ring_->next, next_);
  }
  gathered_.clear();
  for (const auto& reading : readings_) {
    const bool whole = reading->walks && go_on(*reading, cache);
    bool tell = false;
    {
      std::lock_guard lock(ring_->mutex);
      tell = (whole || news) && !reading->cursor->told;
      reading->cursor->told = reading->cursor->told || tell;
    }
    if (tell) reading->cursor->listener->events_ready();
  }
}

void KvEventFeed::drop_ended(PrefixCache& cache) {
  std::erase_if(readings_, [&](const std::unique_ptr<Reading>& reading) {
    std::lock_guard lock(ring_->mutex);
    if (!reading->cursor->ended) return false;
    cache.end(reading->walk);
    return true;
  });
}

// True: the snapshot is whole, and the reader's.
bool KvEventFeed::go_on(Reading& reading, PrefixCache& cache) {
  if (cache.advance(reading.walk, kPieceBlocks, reading.held)) return false;
  cache.end(reading.walk);
  reading.walks = false;
  KvEventCursor& c = *reading.cursor;
  std::lock_guard lock(ring_->mutex);
  c.held = std::move(reading.held);
  c.settled = ring_->next;
  c.snapshot = KvEventCursor::Snapshot::kReady;
  return true;
}

bool KvEventFeed::takes_snapshot() const {
  return std::ranges::any_of(readings_, [](const auto& reading) { return reading->walks; });
}

void KvEventFeed::close() {
  {
    std::lock_guard lock(ring_->mutex);
    ring_->closed = true;
  }
  for (const auto& reading : readings_) reading->cursor->listener->events_ready();
}

}  // namespace sluice
