#include "bench/machine_peaks.h"

#include <fmt/format.h>

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/cpu/arena.h"

namespace sluice::bench {
namespace {

double seconds_of_slowest(int threads, const std::function<void(int)>& body) {
  std::atomic<int> ready{0};
  std::vector<double> seconds(static_cast<size_t>(threads));
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      ++ready;
      while (ready < threads) std::this_thread::yield();
      const auto started = std::chrono::steady_clock::now();
      body(t);
      seconds[static_cast<size_t>(t)] =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    });
  }
  for (auto& thread : running) thread.join();
  return *std::max_element(seconds.begin(), seconds.end());
}

double best_of_five(const std::function<double()>& rate) {
  double best = 0;
  for (int i = 0; i < 5; ++i) best = std::max(best, rate());
  return best;
}

__attribute__((target("avx2"))) uint64_t read_all(const std::byte* p, size_t bytes) {
  __m256i sums[4] = {};
  for (size_t i = 0; i < bytes; i += 128) {
    for (size_t j = 0; j < 4; ++j) {
      sums[j] =
          _mm256_add_epi64(sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(p + i + 32 * j)));
    }
  }
  const __m256i sum =
      _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(sum, 0));
}

constexpr int64_t kLoops = 10'000'000;

// Ten independent chains: more than latency times throughput of any core so far.
__attribute__((target("avx512f,avx512vnni"))) void dot_vnni() {
  for (int64_t i = 0; i < kLoops; ++i) {
    asm volatile(
        "vpdpbusd %%zmm30,%%zmm30,%%zmm0\n vpdpbusd %%zmm30,%%zmm30,%%zmm1\n vpdpbusd "
        "%%zmm30,%%zmm30,%%zmm2\n"
        "vpdpbusd %%zmm30,%%zmm30,%%zmm3\n vpdpbusd %%zmm30,%%zmm30,%%zmm4\n vpdpbusd "
        "%%zmm30,%%zmm30,%%zmm5\n"
        "vpdpbusd %%zmm30,%%zmm30,%%zmm6\n vpdpbusd %%zmm30,%%zmm30,%%zmm7\n vpdpbusd "
        "%%zmm30,%%zmm30,%%zmm8\n"
        "vpdpbusd %%zmm30,%%zmm30,%%zmm9\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
  }
}

__attribute__((target("avx2"))) void dot_madd() {
  for (int64_t i = 0; i < kLoops; ++i) {
    asm volatile(
        "vpmaddubsw %%ymm15,%%ymm15,%%ymm0\n vpmaddubsw %%ymm15,%%ymm15,%%ymm1\n vpmaddubsw "
        "%%ymm15,%%ymm15,%%ymm2\n"
        "vpmaddubsw %%ymm15,%%ymm15,%%ymm3\n vpmaddubsw %%ymm15,%%ymm15,%%ymm4\n vpmaddubsw "
        "%%ymm15,%%ymm15,%%ymm5\n"
        "vpmaddubsw %%ymm15,%%ymm15,%%ymm6\n vpmaddubsw %%ymm15,%%ymm15,%%ymm7\n vpmaddubsw "
        "%%ymm15,%%ymm15,%%ymm8\n"
        "vpmaddubsw %%ymm15,%%ymm15,%%ymm9\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
  }
}

}  // namespace

double read_gbs(int threads) {
  const size_t each = (size_t{96} << 20) / static_cast<size_t>(threads) / 4096 * 4096;
  const auto memory = cpu::Mapping::make(each * static_cast<size_t>(threads));
  std::fill_n(memory->data(), memory->size(), std::byte{1});
  std::atomic<uint64_t> sink{0};
  constexpr int kPasses = 8;
  return best_of_five([&] {
    const double seconds = seconds_of_slowest(threads, [&](int t) {
      for (int pass = 0; pass < kPasses; ++pass)
        sink += read_all(memory->data() + static_cast<size_t>(t) * each, each);
    });
    return static_cast<double>(each) * threads * kPasses / seconds / 1e9;
  });
}

double int8_dot_gops(int threads) {
  const bool vnni = __builtin_cpu_supports("avx512vnni");
  const double ops = 10.0 * kLoops * (vnni ? 128 : 64) * threads;
  return best_of_five(
      [&] { return ops / seconds_of_slowest(threads, [&](int) { vnni ? dot_vnni() : dot_madd(); }) / 1e9; });
}

int threads_in(const std::string& device_name) {
  const size_t comma = device_name.rfind(", ");
  return comma == std::string::npos ? 1 : std::max(1, std::atoi(device_name.c_str() + comma + 2));
}

MachinePeaks peaks_of(Backend& backend) {
  const DevicePeaks own = backend.measure_peaks();
  if (own.bytes_per_s > 0) return {own.bytes_per_s, own.operations_per_s, "bf16 operations"};
  const int threads = threads_in(backend.facts().name);
  return {read_gbs(threads) * 1e9, int8_dot_gops(threads) * 1e9, "8-bit operations"};
}

std::string peaks_line(const std::string& device, const MachinePeaks& peaks) {
  std::string line = fmt::format("{}: {:.0f} GB/s", device, peaks.bytes_per_s / 1e9);
  if (peaks.operations_per_s > 0)
    line += fmt::format(", {:.0f} G {} a second", peaks.operations_per_s / 1e9, peaks.operations);
  return line;
}

}  // namespace sluice::bench
