// Wakes threads that wait for what other threads make true. Who waits spins for some tens of microseconds (in
// a step there is something to wait for every few), then sleeps; every wait has an end. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace sluice {

class Bell {
 public:
  // After a change that somebody may wait for.
  void ring() {
    rings_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) wake();
  }

  // Until `done()` is true, or false when `limit` has passed before. `done` reads atomics that were written
  // before ring().
  template <class Done>
  bool wait(std::chrono::nanoseconds limit, Done&& done) {
    if (done()) return true;
    const auto start = std::chrono::steady_clock::now();
    do {
      for (int i = 0; i < kLooks; ++i) {
        if (done()) return true;
        pause();
      }
    } while (std::chrono::steady_clock::now() - start < kSpin);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    bool is_done = false;
    for (;;) {
      const uint32_t heard = rings_.load(std::memory_order_seq_cst);  // before the look: no ring is missed
      is_done = done();
      const auto left = limit - (std::chrono::steady_clock::now() - start);
      if (is_done || left <= std::chrono::nanoseconds::zero()) break;
      sleep(heard, left);
    }
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    return is_done;
  }

 private:
  static constexpr auto kSpin = std::chrono::microseconds(50);
  static constexpr int kLooks = 64;  // between two looks at the clock

  static void pause();
  void wake();
  // Until the next ring after `heard`, or about `limit`.
  void sleep(uint32_t heard, std::chrono::nanoseconds limit);

  alignas(64) std::atomic<uint32_t> rings_{0};  // the futex word
  std::atomic<int> sleepers_{0};
};

}  // namespace sluice
