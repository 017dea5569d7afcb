#include "kernels/cuda/emulation/fiber.h"

#include <cstdint>

namespace sluice::cuda::emulation {

#if defined(__x86_64__)

// Saves the registers that a call preserves (System V ABI) on the old stack and takes them from the new one.
extern "C" void sluice_switch_fiber(void** save_stack_pointer, void* stack_pointer);
asm(R"(
.text
.type sluice_switch_fiber,@function
.globl sluice_switch_fiber
sluice_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sluice_switch_fiber,.-sluice_switch_fiber
)");

void Fiber::prepare(std::byte* stack, size_t bytes, void (*entry)()) {
  // As after a call: 16-byte aligned but for the return address, which is `entry`'s own caller: nobody.
  auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{63});
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int preserved = 0; preserved < 6; ++preserved) *--top = nullptr;
  stack_pointer_ = top;
}

void Fiber::switch_to(Fiber& to) {
  sluice_switch_fiber(&stack_pointer_, to.stack_pointer_);
}

#else

void Fiber::prepare(std::byte* stack, size_t bytes, void (*entry)()) {
  getcontext(&state_);
  state_.uc_stack.ss_sp = stack;
  state_.uc_stack.ss_size = bytes;
  state_.uc_link = nullptr;
  makecontext(&state_, entry, 0);
}

void Fiber::switch_to(Fiber& to) {
  swapcontext(&state_, &to.state_);
}

#endif

}  // namespace sluice::cuda::emulation
