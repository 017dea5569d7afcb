// The threads that compute: the caller and workers that stay for the pool's life. One region at a time,
// issued by one thread; its parts are claimed one after another from a shared counter, so a worker that the
// system has put aside delays nobody. Idle workers spin for some tens of microseconds (a step has a hundred
// regions, microseconds apart), then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace sluice::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  static constexpr int kMostParts = 0xffff;

  // Calls body(part, thread) for every part in [0, parts), parts <= kMostParts, and returns when all are
  // done; 0 <= thread < threads(), and no two calls run at once under one thread number. The caller works too
  // (as thread 0); one part runs without waking anyone.
  template <class Body>
  void run(int parts, Body&& body) {
    if (parts <= 0) return;
    if (parts == 1 || workers_.empty()) {
      for (int part = 0; part < parts; ++part) body(part, 0);
      return;
    }
    using B = std::remove_reference_t<Body>;
    run_parallel(
        parts, [](void* b, int part, int thread) { (*static_cast<B*>(b))(part, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* body, int part, int thread);

  void run_parallel(int parts, Call call, void* body);
  void work(int thread);
  bool claim_and_run(uint64_t ticket, int thread);

  // The region in progress. `ticket_` is region number << 32 | parts << 16 | next part. A worker reads the
  // fields between reading the ticket and advancing it; that the exchange succeeds proves that the region
  // still had a part to give, and the fields are only rewritten once all parts are done.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  std::atomic<Call> call_{nullptr};
  std::atomic<void*> body_{nullptr};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<uint32_t> wake_{
      0};  // futex word: rises with each region that finds sleepers, and at the end
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// Physical cores that this process may run on: affinity mask and cgroup quota, hyper-threads counted once. At
// least 1.
int usable_cores();

}  // namespace sluice::cpu
