#include "base/bell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace sluice {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

void Bell::pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void Bell::wake() {
  syscall(SYS_futex, &rings_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Bell::sleep(uint32_t heard, std::chrono::nanoseconds limit) {
  constexpr int64_t kSecond = 1'000'000'000;
  const timespec most{limit.count() / kSecond, limit.count() % kSecond};
  syscall(SYS_futex, &rings_, FUTEX_WAIT_PRIVATE, heard, &most, nullptr, 0);
}

}  // namespace sluice
