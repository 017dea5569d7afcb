#include "kernels/cuda/peaks.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/matmul.h"

namespace sluice::cuda {
namespace {

constexpr size_t kCopied = size_t{256} << 20;
constexpr int kSide = 8192, kTimes = 10, kRounds = 5;

// Of one of kTimes calls of `issue`, the best round.
template <class Issue>
double seconds_of(const Issue& issue, Stream stream) {
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    synchronize(stream);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kTimes; ++i) issue();
    synchronize(stream);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / kTimes);
  }
  return best;
}

// With bf16 between 1 and 2 of either sign: zeros would draw less power than real values, and run faster.
void fill(std::byte* to, Stream stream) {
  std::mt19937 random(1);
  std::vector<uint16_t> values(kCopied / 16 / sizeof(uint16_t));
  for (uint16_t& value : values) value = static_cast<uint16_t>(0x3f80U | (random() & 0x807fU));
  const size_t bytes = values.size() * sizeof(uint16_t);
  for (size_t at = 0; at < kCopied; at += bytes) copy_to_device(to + at, values.data(), bytes, stream);
  synchronize(stream);
}

}  // namespace

DevicePeaks measure_peaks(DenseLibrary* library, Stream stream) {
  auto from = DeviceMemory::allocate(kCopied), to = DeviceMemory::allocate(kCopied);
  if (!from.ok() || !to.ok()) return {};
  fill(from->get(), stream);
  DevicePeaks peaks;
  peaks.bytes_per_s =
      2.0 * kCopied / seconds_of([&] { copy_on_device(to->get(), from->get(), kCopied, stream); }, stream);

  constexpr size_t kMatrix = size_t{kSide} * kSide * sizeof(bf16);
  static_assert(kMatrix <= kCopied);
  auto out = DeviceMemory::allocate(kMatrix);
  if (!out.ok()) return peaks;
  const DenseMatrix w{from->as<bf16>(), kSide, kSide};
  const Rows x{to->as<bf16>(), kSide, kSide, kSide};
  const MatmulOut result{.rows = out->as<bf16>(), .stride = kSide};
  const double product = seconds_of(
      [&] {
        if (library != nullptr)
          library->multiply(w, x, result, stream);
        else
          matmul_tiled(w, x, result, stream);
      },
      stream);
  peaks.operations_per_s = 2.0 * kSide * kSide * kSide / product;
  return peaks;
}

}  // namespace sluice::cuda
