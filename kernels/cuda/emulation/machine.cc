#include "kernels/cuda/emulation/machine.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "base/check.h"

namespace sluice::cuda::emulation {
namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr size_t kStackBytes = size_t{256} << 10;
constexpr size_t kMaxDynamicShared = size_t{227} << 10;  // of sm_90
constexpr size_t kSharedAlignment = 1024;

Conditions conditions;
thread_local Block* running_block = nullptr;

// The address sanitizer remembers the frames of a fiber that ended without returning from them.
void forget_frames([[maybe_unused]] std::byte* stack, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(stack, bytes);
#endif
}

struct SiteTable {
  std::mutex mutex;
  std::deque<Site> sites;
};
SiteTable& site_table() {
  static SiteTable table;
  return table;
}

uint64_t next_random(uint64_t& state) {
  state = state * 6364136223846793005U + 1442695040888963407U;
  return state >> 33U;
}

}  // namespace

// ---- sites and conditions ----

void set_conditions(const Conditions& asked) {
  conditions = asked;
}

std::vector<Site> sites() {
  SiteTable& table = site_table();
  std::lock_guard lock(table.mutex);
  return {table.sites.begin(), table.sites.end()};
}

int number_of(const Site& site) {
  SiteTable& table = site_table();
  std::lock_guard lock(table.mutex);
  const auto same = [&](const Site& other) {
    return other.line == site.line && std::strcmp(other.file, site.file) == 0 &&
           std::strcmp(other.what, site.what) == 0;
  };
  const auto found = std::ranges::find_if(table.sites, same);
  if (found == table.sites.end()) table.sites.push_back(site);
  return static_cast<int>(std::ranges::find_if(table.sites, same) - table.sites.begin());
}

bool is_left_out(int site_number) {
  if (conditions.reached != nullptr) conditions.reached->insert(site_number);
  return site_number == conditions.without;
}

// ---- a block ----

Block::Block()
    : threads_(kMaxThreads),
      warps_(kMaxThreads / 32),
      dynamic_shared_(kMaxDynamicShared + 2 * kSharedAlignment),
      ready_(kMaxThreads) {
  void* memory = mmap(nullptr, kStackBytes * kMaxThreads, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  SLUICE_CHECK(memory != MAP_FAILED);
  stacks_ = static_cast<std::byte*>(memory);
  at_barrier_.reserve(kMaxThreads);
}

Block::~Block() {
  munmap(stacks_, kStackBytes * kMaxThreads);
}

Block& Block::current() {
  return *running_block;
}

void* Block::dynamic_shared() {
  const auto address = reinterpret_cast<uintptr_t>(dynamic_shared_.data());
  return reinterpret_cast<void*>((address + kSharedAlignment - 1) & ~uintptr_t{kSharedAlignment - 1});
}

std::string Block::run(const Launch& launch, Index3 block_index) {
  const Index3& size = launch.block;
  launch_ = &launch;
  index_ = block_index;
  count_ = alive_ = size.x * size.y * size.z;
  if (count_ == 0 || count_ > kMaxThreads) return "a block has from 1 to 1024 threads";
  if (launch.dynamic_shared_bytes > kMaxDynamicShared) return "a block asks for too much shared memory";
  random_ = conditions.seed * 0x9E3779B97F4A7C15U + block_index.x * 7919U + block_index.y * 104729U +
            block_index.z * 1299709U;
  failure_.clear();
  barrier_site_ = nullptr;
  at_barrier_.clear();
  votes_ = {};
  ready_begin_ = ready_count_ = 0;
  // Not-a-numbers: what nobody wrote shows in the result.
  std::memset(dynamic_shared(), 0xff, launch.dynamic_shared_bytes + 256);
  for (unsigned w = 0; w * 32 < count_; ++w) {
    const unsigned lanes = std::min(32U, count_ - w * 32);
    warps_[w] = {lanes == 32 ? ~0U : (1U << lanes) - 1, 0};
  }
  for (unsigned rank = 0; rank < count_; ++rank) {
    Thread& t = threads_[rank];
    t.index = {rank % size.x, rank / size.x % size.y, rank / (size.x * size.y)};
    t.rank = rank;
    t.lane = rank % 32;
    t.warp = rank / 32;
    t.done = false;
    t.operation = nullptr;
    t.open_copies.clear();
    t.copy_groups.clear();
    forget_frames(stacks_ + rank * kStackBytes, kStackBytes);
    t.context.prepare(stacks_ + rank * kStackBytes, kStackBytes, &Block::thread_main);
    make_ready(rank);
  }
  running_block = this;
  running_ = &threads_[ready_[ready_begin_]];
  ready_begin_ = (ready_begin_ + 1) % ready_.size();
  --ready_count_;
  main_.switch_to(running_->context);
  running_block = nullptr;
  return failure_;
}

void Block::thread_main() {
  Block& block = current();
  Thread& self = block.thread();
  (*block.launch_->kernel)();
  self.done = true;
  Warp& warp = block.warps_[self.warp];
  warp.alive &= ~(1U << self.lane);
  --block.alive_;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((warp.arrived >> lane & 1U) == 0) continue;
    if ((block.threads_[self.warp * 32 + lane].mask >> self.lane & 1U) != 0)
      block.fail("a lane that a warp operation waits for has ended");
  }
  if (block.alive_ > 0 && block.at_barrier_.size() == block.alive_) block.release_barrier();
  block.resume_next();
}

void Block::make_ready(unsigned rank) {
  const size_t end = (ready_begin_ + ready_count_) % ready_.size();
  ready_[end] = rank;
  ++ready_count_;
  if (conditions.seed == 0) return;
  const size_t other = (ready_begin_ + next_random(random_) % ready_count_) % ready_.size();
  std::swap(ready_[end], ready_[other]);
}

// From the running thread to the next that can go on, or out of the block when all are done.
void Block::resume_next() {
  Thread* const self = running_;
  if (ready_count_ == 0) {
    if (alive_ > 0) fail("every thread waits: not all of them reach a barrier or a warp operation");
    running_ = nullptr;
    self->context.switch_to(main_);
    return;
  }
  running_ = &threads_[ready_[ready_begin_]];
  ready_begin_ = (ready_begin_ + 1) % ready_.size();
  --ready_count_;
  if (running_ != self) self->context.switch_to(running_->context);
}

void Block::yield() {
  make_ready(running_->rank);
  resume_next();
}

void Block::fail(const std::string& what) {
  const auto text = [](const Index3& i) {
    return std::to_string(i.x) + "," + std::to_string(i.y) + "," + std::to_string(i.z);
  };
  failure_ = what + " (block " + text(index_) + ", thread " + text(running_->index);
  if (barrier_site_ != nullptr) {
    failure_ += std::string("; a barrier waits at ") + barrier_site_->file + ":" +
                std::to_string(barrier_site_->line);
  }
  failure_ += ")";
  // The other fibers are left where they are: nothing in them owns anything.
  running_->context.switch_to(main_);
  std::abort();
}

Block::Votes Block::barrier(const Site& site, bool vote) {
  if (barrier_site_ != nullptr && barrier_site_->line != site.line)
    fail(std::string("threads of one block are in two barriers, one at ") + site.file + ":" +
         std::to_string(site.line));
  barrier_site_ = &site;
  votes_.count += vote ? 1 : 0;
  ++votes_.threads;
  at_barrier_.push_back(running_->rank);
  if (at_barrier_.size() == alive_) {
    at_barrier_.pop_back();  // oneself, who goes on
    release_barrier();
  } else {
    resume_next();
  }
  return result_;
}

void Block::release_barrier() {
  barrier_site_ = nullptr;
  result_ = votes_;
  votes_ = {};
  for (const unsigned rank : at_barrier_) make_ready(rank);
  at_barrier_.clear();
}

void Block::warp_operation(uint32_t mask, const void* operation, const void* in, void* out,
                           WarpCompute compute) {
  Thread& self = *running_;
  Warp& warp = warps_[self.warp];
  if ((mask >> self.lane & 1U) == 0) fail("a lane calls a warp operation whose mask leaves it out");
  self.mask = mask;
  self.operation = operation;
  self.in = in;
  self.out = out;
  warp.arrived |= 1U << self.lane;
  if ((warp.arrived & mask) != mask) {
    if ((mask & ~warp.alive) != 0) fail("a warp operation's mask names a lane that has ended");
    return resume_next();
  }
  Thread* lanes[32] = {};
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) == 0) continue;
    lanes[lane] = &threads_[self.warp * 32 + lane];
    if (lanes[lane]->operation != operation) fail("lanes of one warp are in different operations");
    if (lanes[lane]->mask != mask) fail("lanes of one warp operation name different masks");
  }
  if (compute != nullptr) compute(lanes, mask);
  warp.arrived &= ~mask;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) != 0 && lane != self.lane) make_ready(self.warp * 32 + lane);
  }
}

// ---- a grid ----

namespace {

// OS threads that wait for grids: starting them anew for each would cost more than most grids.
class Crew {
 public:
  explicit Crew(int size) {
    for (int i = 0; i < size; ++i) threads_.emplace_back([this] { serve(); });
  }
  ~Crew() {
    {
      std::lock_guard lock(mutex_);
      over_ = true;
    }
    begun_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  // All of the crew and the caller run `work` once.
  void run(const std::function<void()>& work) {
    {
      std::lock_guard lock(mutex_);
      work_ = &work;
      ++turn_;
      busy_ = threads_.size();
    }
    begun_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve() {
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      begun_.wait(lock, [&] { return over_ || turn_ != seen; });
      if (over_) return;
      seen = turn_;
      lock.unlock();
      (*work_)();
      lock.lock();
      if (--busy_ == 0) ended_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable begun_, ended_;
  const std::function<void()>* work_ = nullptr;
  uint64_t turn_ = 0;
  size_t busy_ = 0;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::string run_grid(const Block::Launch& launch) {
  const uint64_t total = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  if (total == 0) return "a grid has at least one block";
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  std::string failure;
  const std::function<void()> work = [&] {
    static thread_local Block block;
    for (uint64_t i; (i = next++) < total;) {
      const Index3 at{static_cast<unsigned>(i % launch.grid.x),
                      static_cast<unsigned>(i / launch.grid.x % launch.grid.y),
                      static_cast<unsigned>(i / launch.grid.x / launch.grid.y)};
      std::string wrong = block.run(launch, at);
      if (wrong.empty()) continue;
      std::lock_guard lock(mutex);
      if (failure.empty()) failure = std::move(wrong);
      next = total;
    }
  };
  static Crew crew(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())) - 1);
  if (total == 1 || conditions.threads == 1)
    work();
  else
    crew.run(work);
  return failure;
}

void run_or_fail(const Block::Launch& launch) {
  const std::string wrong = run_grid(launch);
  if (wrong.empty()) return;
  if (conditions.failure == nullptr) {
    std::fprintf(stderr, "emulated GPU: %s\n", wrong.c_str());
    std::abort();
  }
  if (conditions.failure->empty()) *conditions.failure = wrong;
}

}  // namespace sluice::cuda::emulation
