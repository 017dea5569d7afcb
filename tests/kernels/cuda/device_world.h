// What tests of kernels stand on: arrays on the device, emulated or real, and comparisons. Included after
// gtest.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/runtime.h"
#include "kernels/dtype.h"

namespace sluice::cuda::testing {

// `count` values in device memory with guards around them: whoever writes beside them is found out.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    memory_ = static_cast<std::byte*>(*allocate_device_memory(bytes() + 2 * kGuard));
    const std::vector<std::byte> guard(kGuard, std::byte{0xa5});
    copy_to_device(memory_, guard.data(), kGuard, nullptr);
    copy_to_device(memory_ + kGuard + bytes(), guard.data(), kGuard, nullptr);
    synchronize(nullptr);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { put(values); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() {
    std::vector<std::byte> guards(2 * kGuard);
    copy_to_host(guards.data(), memory_, kGuard, nullptr);
    copy_to_host(guards.data() + kGuard, memory_ + kGuard + bytes(), kGuard, nullptr);
    synchronize(nullptr);
    for (const std::byte b : guards) {
      if (b == std::byte{0xa5}) continue;
      ADD_FAILURE() << "a kernel wrote beside its array";
      break;
    }
    free_device_memory(memory_);
  }

  T* get() const { return reinterpret_cast<T*>(memory_ + kGuard); }
  size_t size() const { return count_; }
  void put(const std::vector<T>& values) {
    EXPECT_EQ(values.size(), count_);
    copy_to_device(get(), values.data(), bytes(), nullptr);
    synchronize(nullptr);
  }
  std::vector<T> take() const {
    std::vector<T> values(count_);
    copy_to_host(values.data(), get(), bytes(), nullptr);
    synchronize(nullptr);
    return values;
  }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes() const { return count_ * sizeof(T); }
  size_t count_;
  std::byte* memory_;
};

inline std::vector<float> random_values(size_t count, uint32_t seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

inline std::vector<uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> bits(values.size());
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = f32_to_bf16(values[i]);
  return bits;
}

inline std::vector<float> as_float(const std::vector<uint16_t>& bits) {
  std::vector<float> values(bits.size());
  for (size_t i = 0; i < bits.size(); ++i) values[i] = bf16_to_f32(bits[i]);
  return values;
}

// Rounded to bf16, as a device would hold them.
inline std::vector<float> rounded(const std::vector<float>& values) {
  return as_float(as_bf16(values));
}

// Largest difference, each over what was wanted, or over the root mean square of all of it where that is
// larger. Not-a-numbers count as infinite.
inline double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double squares = 0, worst = 0;
  for (const float w : want) squares += static_cast<double>(w) * w;
  const double usual = std::sqrt(squares / static_cast<double>(want.size())) + 1e-30;
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(got[i]) - want[i]);
    const double share = difference / std::max<double>(std::fabs(want[i]), usual);
    if (!(share <= worst)) worst = std::isnan(share) ? INFINITY : share;
  }
  return worst;
}

}  // namespace sluice::cuda::testing
