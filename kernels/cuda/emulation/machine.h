// A GPU for machines that have none: runs a kernel's grid on host threads. The threads of a block are fibers
// on one OS thread and switch only where the kernel synchronises; blocks run side by side on a pool. It
// proves what a kernel computes, not how fast, and finds on the way: barriers and warp operations that not
// all threads reach (or reach at different places), deadlocks, reads of shared memory that nobody wrote and
// of copies that nobody waited for. Orders of execution are permuted by a seed; single barriers and waits can
// be taken out by number, so that a test can show that it would miss them. Included by kernels/cuda/gpu.h
// alone.
//
// Not modelled: time, memory banks, weak ordering between threads, blocks that wait for one another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/fiber.h"

namespace sluice::cuda::emulation {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

// A place in a kernel's source that synchronises: a barrier, a warp operation, a wait.
struct Site {
  const char* file = "";
  int line = 0;
  const char* what = "";
};

// A copy that cp.async began and no wait has completed.
struct PendingCopy {
  void* to;
  const void* from;
  uint32_t bytes, valid_bytes;  // the rest becomes zero
};

// One GPU thread.
struct Thread {
  Fiber context;
  Index3 index;
  unsigned rank = 0, lane = 0, warp = 0;
  bool done = false;
  // What it waits in, for the one who completes a warp's operation.
  uint32_t mask = 0;
  const void* operation = nullptr;
  const void* in = nullptr;
  void* out = nullptr;
  std::vector<PendingCopy> open_copies;               // since the last commit
  std::vector<std::vector<PendingCopy>> copy_groups;  // committed, oldest first
};

// The block that this OS thread runs now.
class Block {
 public:
  struct Launch {
    Index3 grid, block;
    size_t dynamic_shared_bytes = 0;
    const std::function<void()>* kernel = nullptr;
  };

  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Returns what went wrong, or an empty text.
  std::string run(const Launch& launch, Index3 block_index);

  // ---- called by the kernel's threads ----
  static Block& current();
  Thread& thread() { return *running_; }
  const Index3& index() const { return index_; }
  const Launch& launch() const { return *launch_; }
  void* dynamic_shared();

  // __syncthreads and its reducing kin. `site`: not two of them at once.
  struct Votes {
    int count = 0, threads = 0;
  };
  Votes barrier(const Site& site, bool vote);

  // The one operation among a warp's lanes: each deposits `in` and `out`; the last of `mask` to arrive calls
  // `compute` with all of them. `operation` names it: all lanes must be in the same one.
  using WarpCompute = void (*)(Thread* const lanes[32], uint32_t mask);
  void warp_operation(uint32_t mask, const void* operation, const void* in, void* out, WarpCompute compute);

  void yield();  // for loops that wait for other threads
  // Ends the launch: the kernel is wrong.
  [[noreturn]] void fail(const std::string& what);

 private:
  struct Warp {
    uint32_t alive = 0, arrived = 0;
  };
  static void thread_main();
  void make_ready(unsigned rank);
  void resume_next();
  void release_barrier();

  std::byte* stacks_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<std::byte> dynamic_shared_;
  std::vector<unsigned> ready_;  // a ring
  size_t ready_begin_ = 0, ready_count_ = 0;

  Fiber main_;
  const Launch* launch_ = nullptr;
  Index3 index_;
  Thread* running_ = nullptr;
  unsigned count_ = 0, alive_ = 0;
  uint64_t random_ = 0;

  const Site* barrier_site_ = nullptr;
  std::vector<unsigned> at_barrier_;
  Votes votes_, result_;

  std::string failure_;
};

// How kernels are run from now on. Between launches only.
struct Conditions {
  uint64_t seed = 0;                 // 0: threads run in their order; else permuted
  int threads = 0;                   // 1: blocks run one after the other; 0: on all cores
  int without = -1;                  // the barrier or wait with this number does nothing
  std::string* failure = nullptr;    // where the first failure is told; null: it stops the process
  std::set<int>* reached = nullptr;  // the barriers and waits there were; with threads = 1
};
void set_conditions(const Conditions& conditions);

// Barriers and waits that kernels have reached so far; a site's number is its place here.
std::vector<Site> sites();
// Of a barrier or wait; thread-safe, the same for the same site.
int number_of(const Site& site);
bool is_left_out(int site_number);

// Runs all blocks and returns the first failure, or an empty text.
std::string run_grid(const Block::Launch& launch);
// Likewise; a failure goes to Conditions::failure, or stops the process.
void run_or_fail(const Block::Launch& launch);

}  // namespace sluice::cuda::emulation
