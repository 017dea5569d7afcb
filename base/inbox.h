// A bounded many-to-one queue: the only way between threads. Producers never wait: a full inbox is an answer
// the caller passes on. One consumer thread drains it whole; it may sleep until something comes or a time
// passes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace sluice {

template <class T>
class Inbox {
 public:
  explicit Inbox(size_t capacity) : capacity_(capacity) {}

  // Any thread. False when full or closed; `item` is then untouched.
  bool try_push(T&& item) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    arrived_.notify_one();
    return true;
  }

  // For messages that must not be lost and are bounded by something else (a cancel per live request).
  void push_unbounded(T&& item) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      items_.push_back(std::move(item));
    }
    arrived_.notify_one();
  }

  // Consumer only: everything that is there, in order; empty when there is nothing.
  void drain(std::vector<T>& out) {
    out.clear();
    std::lock_guard lock(mutex_);
    std::swap(out, items_);
  }

  // Consumer only: sleeps until something is there, the inbox closes, or `timeout` passed.
  void wait_for(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, timeout, [this] { return closed_ || !items_.empty(); });
  }

  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    arrived_.notify_all();
  }

  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<T> items_;
  bool closed_ = false;
};

}  // namespace sluice
