// A few threads for work that would hold up an I/O thread: parsing, rendering and encoding large prompts.
// Bounded: a full queue is an answer the caller passes on.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {

class WorkPool {
 public:
  WorkPool(int threads, size_t max_queued);
  ~WorkPool();  // finishes the job each thread is at, drops the rest
  // Any thread. False when the queue is full. Jobs must not throw.
  bool try_run(std::function<void()> job);

 private:
  void work();

  const size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> jobs_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice
