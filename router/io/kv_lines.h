// The lines of GET /kv_events (docs/kv_events.md) turned into what the core understands. Every line is
// hostile: its length is bounded, and what it does not understand it passes over or reports. Pure; one
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "router/core/kv_event.h"

namespace sluice::router {

struct KvHello {
  uint64_t epoch = 0;
  uint64_t next = 0;
  bool resumed = false;
  uint32_t block_tokens = 0;
  std::string hash;           // the name of its block hash
  uint32_t max_num_seqs = 0;  // requests that it runs at once; 0: not said
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

  enum class State : uint8_t {
    kReading,
    kEnded,    // the replica said that nothing more comes: connect again
    kClosing,  // the replica stops
    kBroken,   // what came is not this protocol; see fault()
  };

  explicit KvLines(KvListener& listener) : listener_(listener) {}

  // However the bytes are cut. After anything but kReading nothing more is read.
  State take(std::string_view bytes);

  const std::string& fault() const { return fault_; }

 private:
  void take_line(std::string_view line);
  void take_snapshot(std::string_view blocks);
  void broken(std::string what);

  KvListener& listener_;
  State state_ = State::kReading;
  std::string kept_;  // an incomplete line
  bool greeted_ = false;
  uint64_t epoch_ = 0;
  std::string fault_;
};

}  // namespace sluice::router
