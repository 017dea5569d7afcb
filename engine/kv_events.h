// What a router wants to know of an engine, as events with numbers: which KV blocks can be found, and where
// requests stand. The engine's thread gathers a step's events and puts them into a bounded ring; any number
// of readers (up to kMaxReaders) copy them out on threads of their own. Until the first reader comes nothing
// is kept, and an event costs one branch.
//
// Sequence numbers have no gap, from 1 on; the epoch is another one in each process. A reader that cannot go
// on where it wants to gets a snapshot first: every block that can be found, parents before children; then
// the events since its begin. The engine gathers a snapshot in pieces between its steps, while blocks come
// and go, so these events may tell of some blocks once more. Whoever takes each block's last word has, from
// event `settled` on, exactly what there is. Before it a block may be stored whose parent is in no line: both
// are evicted again before `settled`.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace sluice {

// Where the engine stands. A rate of 0 is not known yet.
struct KvLoad {
  int32_t running = 0, waiting = 0;
  int64_t waiting_uncached_tokens =
      0;  // prompt tokens of waiting requests that were not in the cache when they came
  int64_t prefilling_tokens = 0;  // of running requests, not computed yet
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;    // held by running requests
  int64_t kv_blocks_cached = 0;  // free, but found
  double prefill_tokens_per_s = 0;
  double decode_step_s = 0;
};

struct KvEvent {
  enum class Kind : uint8_t {
    kStored,     // hash, parent: can be found from now on
    kEvicted,    // hash: no more
    kAdmitted,   // name, choice, prompt_tokens, cached_tokens, prompt_blocks, hash (of the last of these)
    kPrefilled,  // name, choice: its first token is there
    kFinished,   // name, choice, reason, generated
    kLoad,       // load
    kHeld,       // of a snapshot: hash, parent
    kHeldAll,    // the snapshot is complete, and exact once event `sequence` - 1 is applied
  };
  static constexpr size_t kMaxName = 128;

  Kind kind = Kind::kLoad;
  FinishReason reason = FinishReason::kNone;
  uint8_t name_size = 0;
  int32_t choice = 0;     // of the request's prompts and its n
  uint64_t sequence = 0;  // kHeld, kHeldAll: 0
  uint64_t hash = 0, parent = 0;
  // The prompt is here all that was known when the request came: also what was generated before elsewhere.
  int32_t prompt_tokens = 0, cached_tokens = 0, prompt_blocks = 0, generated = 0;
  KvLoad load;
  std::array<char, kMaxName> name_bytes;  // [0, name_size)

  std::string_view name() const { return {name_bytes.data(), name_size}; }
};

// Where a reader wants to go on.
struct KvEventPlace {
  uint64_t sequence = 0;
  std::optional<uint64_t> epoch;  // where the number is from; another one than the engine's is nowhere
};

// Told that something may be read. On the engine's thread; must not block or throw. Not told again before the
// next read().
class KvEventListener {
 public:
  virtual ~KvEventListener() = default;
  virtual void events_ready() noexcept = 0;
};

struct KvEventRing;
struct KvEventCursor;

// One reader's place. One thread at a time; may outlive the engine.
class KvEventReader {
 public:
  enum class State : uint8_t {
    kOpen,    // more may come
    kLost,    // read too slowly: what comes next is overwritten
    kClosed,  // the engine takes no more requests, or is gone
  };
  ~KvEventReader();

  // Appends what comes next, at most kBatch events; maybe nothing. Before the engine has taken the reader up
  // there is neither event nor start().
  static constexpr size_t kBatch = 256;
  State read(std::vector<KvEvent>& out);

  struct Start {
    uint64_t epoch = 0;
    uint64_t next = 0;     // the number of the first event that will be read
    bool resumed = false;  // nothing is missing since `from`; else a snapshot comes first
  };
  std::optional<Start> start() const;

 private:
  friend class KvEventFeed;
  KvEventReader(std::shared_ptr<KvEventRing> ring, std::shared_ptr<KvEventCursor> cursor);
  void read_snapshot(size_t full, std::vector<KvEvent>& out);
  const std::shared_ptr<KvEventRing> ring_;
  const std::shared_ptr<KvEventCursor> cursor_;
};

// The engine's side. Engine thread, but for `open`.
class KvEventFeed final : public BlockWatch {
 public:
  static constexpr int kMaxReaders = 16;
  static constexpr size_t kCapacity = 8192;  // events in the ring: 2 MB once they are full
  static constexpr std::chrono::milliseconds kLoadInterval{100};

  explicit KvEventFeed(uint64_t epoch, size_t capacity = kCapacity);
  ~KvEventFeed() override;

  // Any thread. A reader that the engine's thread does not know yet: hand `cursor` to attach() there.
  // kOverloaded when there are kMaxReaders.
  struct Opened {
    std::unique_ptr<KvEventReader> reader;
    std::shared_ptr<KvEventCursor> cursor;
  };
  Result<Opened> open(std::optional<KvEventPlace> from, std::shared_ptr<KvEventListener> listener);

  bool on() const { return on_; }
  void attach(std::shared_ptr<KvEventCursor> cursor, PrefixCache& cache);

  void stored(uint64_t hash, uint64_t parent) override;
  void evicted(uint64_t hash) override;
  struct Name {
    std::string_view text;
    int32_t choice;
  };
  struct Prompt {
    int32_t tokens, cached_tokens, blocks;
    uint64_t hash;
  };
  void admitted(Name name, Prompt prompt);
  void prefilled(Name name);
  void finished(Name name, FinishReason reason, int32_t generated);

  // True when a load line is due. `moved`: there was a step or a new request since the last call.
  bool load_due(Clock::time_point now, bool moved);
  // A change since the last load line: one is due later, though nothing else may happen.
  bool load_waits() const { return on_ && moved_; }
  void load(const KvLoad& load, Clock::time_point now);

  // Makes visible what was gathered, goes on with snapshots, wakes readers.
  void publish(PrefixCache& cache);
  bool takes_snapshot() const;  // publish() has more to do, whatever else happens
  // Readers come to an end once they have read what there is.
  void close();

 private:
  struct Reading {
    std::shared_ptr<KvEventCursor> cursor;
    PrefixCache::Walk walk;
    bool walks = false;
    std::vector<PrefixCache::Held> held;  // gathered so far
  };
  KvEvent& gather(KvEvent::Kind kind);
  KvEvent& gather(KvEvent::Kind kind, Name name);
  void drop_ended(PrefixCache& cache);
  bool go_on(Reading& reading, PrefixCache& cache);

  const std::shared_ptr<KvEventRing> ring_;
  bool on_ = false;
  uint64_t next_ = 1;  // the number of the event gathered next
  std::vector<KvEvent> gathered_;
  std::vector<std::unique_ptr<Reading>> readings_;
  bool moved_ = false;
  Clock::time_point last_load_;
};

}  // namespace sluice
