// Fibers: contexts of execution that one OS thread switches between by hand. A fiber runs until it switches;
// it is never moved to another thread. x86-64 in a few instructions, elsewhere by ucontext.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace sluice::cuda::emulation {

class Fiber {
 public:
  // Makes the next switch to this context call `entry`, which must never return, on [stack, stack + bytes).
  void prepare(std::byte* stack, size_t bytes, void (*entry)());
  // Leaves this context, which is the running one, for `to`; returns when somebody switches back.
  void switch_to(Fiber& to);

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t state_{};
#endif
};

}  // namespace sluice::cuda::emulation
