// The events of a streamed background response, kept so that clients may come, leave and come back: one
// writer, any number of followers, each on its own I/O thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/net/exchange.h"

namespace sluice {

class LogFollower;

class EventLog {
 public:
  explicit EventLog(size_t max_bytes) : max_bytes_(max_bytes) {}

  // Whole events, each ending with a blank line. False: the log is full, nothing was added.
  bool append(std::string_view events);
  void close();
  size_t bytes() const;

 private:
  friend class LogFollower;
  struct Reader {
    IoThread* io;
    std::weak_ptr<LogFollower> follower;
  };
  void wake();  // under the lock

  const size_t max_bytes_;
  mutable std::mutex mutex_;
  std::string text_;
  std::vector<size_t> starts_;  // of the events in text_
  bool closed_ = false;
  std::vector<Reader> readers_;
};

// Sends what is in the log, then what comes, to one client. Its I/O thread.
class LogFollower final : public Responder, public std::enable_shared_from_this<LogFollower> {
 public:
  LogFollower(Exchange& exchange, std::shared_ptr<EventLog> log)
      : exchange_(exchange), log_(std::move(log)) {}
  // From the event with that number on.
  void start(size_t first_event);
  void send_news();

 private:
  Exchange& exchange_;
  const std::shared_ptr<EventLog> log_;
  size_t sent_ = 0;  // bytes of the log
  bool over_ = false;
};

}  // namespace sluice
