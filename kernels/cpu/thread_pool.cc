#include "kernels/cpu/thread_pool.h"

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <string>

#include "base/check.h"

namespace sluice::cpu {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);

int next_part(uint64_t ticket) {
  return static_cast<int>(ticket & 0xffff);
}
int parts_of(uint64_t ticket) {
  return static_cast<int>((ticket >> 16) & 0xffff);
}
uint64_t region_of(uint64_t ticket) {
  return ticket >> 32;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<size_t>(std::max(0, threads - 1)));
  for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { work(t); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_seq_cst);
  wake_.fetch_add(1, std::memory_order_seq_cst);
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

// Runs one part of the ticket's region. False when the region has no part left or is over.
bool ThreadPool::claim_and_run(uint64_t ticket, int thread) {
  while (true) {
    const Call call = call_.load(std::memory_order_relaxed);
    void* const body = body_.load(std::memory_order_relaxed);
    const int part = next_part(ticket);
    if (part >= parts_of(ticket)) return false;
    uint64_t seen = ticket;
    if (ticket_.compare_exchange_weak(seen, ticket + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      call(body, part, thread);
      done_.fetch_add(1, std::memory_order_release);
      return true;
    }
    if (region_of(seen) != region_of(ticket)) return false;
    ticket = seen;
  }
}

void ThreadPool::run_parallel(int parts, Call call, void* body) {
  SLUICE_CHECK_LE(parts, kMostParts);
  call_.store(call, std::memory_order_relaxed);
  body_.store(body, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  const uint64_t region = region_of(ticket_.load(std::memory_order_relaxed)) + 1;
  // Sequentially consistent, as is the sleeper's count: either we see the sleeper, or it sees the new region.
  ticket_.store(region << 32 | static_cast<uint64_t>(parts) << 16, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    wake_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
  }
  while (claim_and_run(ticket_.load(std::memory_order_acquire), 0)) {
  }
  // Only parts that some worker has claimed are still out. A worker may share our core: yield after a while.
  for (int spins = 0; done_.load(std::memory_order_acquire) != parts; ++spins) {
    if (spins < 4000)
      _mm_pause();
    else
      sched_yield();
  }
}

void ThreadPool::work(int thread) {
  uint64_t region = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const auto fresh = [&] { return region_of(ticket_.load(std::memory_order_seq_cst)) != region; };
    auto deadline = std::chrono::steady_clock::time_point{};
    bool found = fresh();
    for (int spins = 0; !found; ++spins) {
      _mm_pause();
      found = fresh();
      if (found || spins % 64 != 63) continue;
      const auto now = std::chrono::steady_clock::now();
      if (deadline == std::chrono::steady_clock::time_point{})
        deadline = now + kSpin;
      else if (now > deadline)
        break;
    }
    if (!found) {
      const uint32_t seen = wake_.load(std::memory_order_acquire);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      if (!fresh() && !stop_.load(std::memory_order_seq_cst)) wake_.wait(seen, std::memory_order_acquire);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      continue;
    }
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    region = region_of(ticket);
    while (claim_and_run(ticket, thread)) {
      ticket = ticket_.load(std::memory_order_acquire);
      if (region_of(ticket) != region) break;
    }
  }
}

int usable_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  std::set<std::string> cores;  // each physical core by its list of hyper-threads
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string siblings;
    std::ifstream in(topology + "thread_siblings_list");
    if (!(in >> siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  int count = static_cast<int>(cores.size());
  // cgroup v2: "quota period" in microseconds, or "max period"; v1 has a file each.
  std::string quota;
  double period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  if (!(v2 >> quota >> period)) {
    std::ifstream quota_v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        period_v1("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(quota_v1 >> quota) || !(period_v1 >> period)) quota.clear();
  }
  if (!quota.empty() && quota != "max" && quota[0] != '-' && quota.size() < 16 && period > 0) {
    const double share = static_cast<double>(std::strtoll(quota.c_str(), nullptr, 10)) / period;
    count = std::min(count, std::max(1, static_cast<int>(share)));
  }
  return std::max(1, count);
}

}  // namespace sluice::cpu
