// The emulated device: that it finds what is wrong with a kernel, that the order of threads makes no
// difference to ours, and that no barrier or wait of theirs could be taken out unnoticed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "kernels/cuda/gpu.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda {
namespace {

using ::testing::HasSubstr;

// What goes wrong with `work` under the conditions.
std::string failure_of(const std::function<std::string()>& work, emulation::Conditions conditions = {}) {
  std::string failure;
  conditions.failure = &failure;
  emulation::set_conditions(conditions);
  const std::string wrong = work();
  emulation::set_conditions({});
  return failure.empty() ? wrong : failure;
}

template <class... P, class... A>
std::string run(void (*kernel)(P...), unsigned threads, A... arguments) {
  return failure_of([=] {
    launch(kernel, {dim3(2), dim3(threads), 1024, nullptr}, arguments...);
    return std::string();
  });
}

__global__ void barrier_for_some(int*) {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void barrier_twice(int* out) {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  *out = 1;
}
__global__ void mask_of_the_dead(int* out) {
  if (threadIdx.x == 3) return;
  *out = __shfl_xor_sync(~0U, 1, 1);
}
__global__ void shuffle_in_two_places(int* out) {
  *out = threadIdx.x % 2 == 0 ? __shfl_xor_sync(~0U, 1, 1) : static_cast<int>(__ballot_sync(~0U, 1));
}
__global__ void misaligned_copy(const std::byte* from) {
  SLUICE_DYNAMIC_SHARED(std::byte, room);
  copy_async_16(room, from + 4, true);
}
__global__ void forgotten_wait(const float* from, float* out) {
  SLUICE_DYNAMIC_SHARED(float, room);
  copy_async_16(room, from, true);
  copy_async_commit();
  *out = room[0];
}
__global__ void unwritten(float* out) {
  SLUICE_DYNAMIC_SHARED(float, room);
  *out = room[7];
}

TEST(Emulation, finds_barriers_that_not_all_threads_reach) {
  int out = 0;
  EXPECT_THAT(run(barrier_twice, 64, &out), HasSubstr("two barriers"));
  // Threads that have ended are not waited for, as on the device.
  EXPECT_EQ(run(barrier_for_some, 64, &out), "");
}

TEST(Emulation, finds_wrong_warp_operations) {
  int out = 0;
  EXPECT_THAT(run(mask_of_the_dead, 32, &out), HasSubstr("ended"));
  EXPECT_THAT(run(shuffle_in_two_places, 32, &out), HasSubstr("different operations"));
}

TEST(Emulation, finds_copies_that_nobody_waits_for) {
  alignas(16) std::byte from[64] = {};
  EXPECT_THAT(run(misaligned_copy, 1, static_cast<const std::byte*>(from)), HasSubstr("misaligned"));
  alignas(16) const float values[4] = {1, 2, 3, 4};
  float out = 0;
  EXPECT_EQ(run(forgotten_wait, 1, static_cast<const float*>(values), &out), "");
  EXPECT_TRUE(std::isnan(out));
  EXPECT_EQ(run(unwritten, 1, &out), "");
  EXPECT_TRUE(std::isnan(out));
}

TEST(Emulation, captures_and_replays_work) {
  const Stream stream = make_stream();
  float from = 1, to = 0;
  begin_capture(stream);
  copy_to_device(&to, &from, sizeof from, stream);
  const auto graph = end_capture(stream);
  EXPECT_EQ(to, 0);
  graph->launch(stream);
  EXPECT_EQ(to, 1);
  destroy_stream(stream);
}

TEST(Emulation, gives_the_same_whatever_the_order_of_threads) {
  for (const testing::Case& one : testing::all_cases()) {
    for (const uint64_t seed : {1, 2, 3})
      EXPECT_EQ(failure_of(one.run, {.seed = seed}), "") << one.name << ", seed " << seed;
  }
}

// In a process of its own, which has no threads but this one: a kernel without a barrier may read anywhere,
// or wait for ever.
bool fails(const std::function<std::string()>& work, emulation::Conditions conditions) {
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    alarm(60);
    conditions.threads = 1;
    _exit(failure_of(work, conditions).empty() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status != 0;
}

// What a case reaches, and how long it takes.
struct Reach {
  const testing::Case* one;
  std::set<int> sites;
  std::chrono::steady_clock::duration time;
};

TEST(Emulation, would_miss_any_barrier_or_wait_of_a_kernel) {
  const std::vector<testing::Case> cases = testing::all_cases();
  std::vector<Reach> reaches;
  for (const testing::Case& one : cases) {
    Reach reach{&one, {}, {}};
    const auto start = std::chrono::steady_clock::now();
    failure_of(one.run, {.threads = 1, .reached = &reach.sites});
    reach.time = std::chrono::steady_clock::now() - start;
    reaches.push_back(std::move(reach));
  }
  std::ranges::sort(reaches, {}, &Reach::time);  // the quickest proof first
  const std::vector<emulation::Site> sites = emulation::sites();
  int checked = 0;
  for (int number = 0; number < static_cast<int>(sites.size()); ++number) {
    const emulation::Site& site = sites[static_cast<size_t>(number)];
    if (std::string(site.file).find("kernels/cuda/") == std::string::npos ||
        std::string(site.file).find("tests/") != std::string::npos)
      continue;
    ++checked;
    const bool missed = std::ranges::any_of(reaches, [&](const Reach& reach) {
      if (!reach.sites.contains(number)) return false;
      return std::ranges::any_of(std::vector<uint64_t>{0, 1, 2}, [&](uint64_t seed) {
        return fails(reach.one->run, {.seed = seed, .without = number});
      });
    });
    EXPECT_TRUE(missed) << "no case fails without the " << site.what << " at " << site.file << ":"
                        << site.line;
  }
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace sluice::cuda
