// The lines of GET /kv_events (docs/kv_events.md) turned into what the core understands. Every line is hostile:
// its length is bounded, and what it does not understand it passes over or reports. Within a snapshot numbered
// events wait until it is complete, as the core wants them. Pure; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "router/core/kv_event.h"

namespace sluice::router {

struct KvHello {
  uint64_t epoch = 0;
  uint64_t next = 0;
  bool resumed = false;
  uint32_t block_tokens = 0;
  std::string hash;  // the name of its block hash
};

class KvListener {
 public:
  virtual ~KvListener() = default;
  virtual void on_hello(const KvHello& hello) = 0;
  // `request` is the x-request-id where the event has one; `event.request` is then to be filled in.
  virtual void on_event(KvEvent& event, std::string_view request) = 0;
};

class KvLines {
 public:
  static constexpr size_t kMaxLineBytes = size_t{64} << 10;
  static constexpr size_t kMaxWaiting = 500'000;  // events told while a snapshot comes in

  enum class State : uint8_t {
    kReading,
    kEnded,   // the replica said that nothing more comes: connect again
    kClosing,  // the replica stops
    kBroken,  // what came is not this protocol; see fault()
  };

  explicit KvLines(KvListener& listener) : listener_(listener) {}

  // For a new connection.
  void reset();
  // However the bytes are cut. After anything but kReading nothing more is read.
  State take(std::string_view bytes);

  const std::string& fault() const { return fault_; }
  // What to ask for after the connection broke: the first event not seen, of that epoch. 0: nothing yet.
  uint64_t next() const { return next_; }
  uint64_t epoch() const { return epoch_; }
  void forget() { next_ = 0; }  // the next connection begins with a snapshot

 private:
  void take_line(std::string_view line);
  void take_snapshot(std::string_view blocks);
  void end_snapshot();
  void tell(KvEvent& event, std::string_view request);
  void broken(std::string what);

  struct Waiting {
    KvEvent event;
    std::string request;
  };
  KvListener& listener_;
  State state_ = State::kReading;
  std::string kept_;  // an incomplete line
  bool greeted_ = false;
  bool in_snapshot_ = false;
  uint64_t epoch_ = 0;
  uint64_t next_ = 0;
  std::vector<Waiting> waiting_;
  std::string fault_;
};

}  // namespace sluice::router
