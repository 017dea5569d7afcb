// Owners of memory on a device, and the way of a step's small arrays to it: written into pinned memory one
// after another, sent in one copy. Memory only grows: after the largest step nothing is allocated.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  static Result<DeviceMemory> allocate(size_t bytes) {
    DeviceMemory memory;
    SLUICE_ASSIGN(memory.memory_, allocate_device_memory(bytes > 0 ? bytes : 1));
    memory.bytes_ = bytes;
    return memory;
  }
  DeviceMemory(DeviceMemory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory() {
    if (memory_ != nullptr) free_device_memory(memory_);
  }

  std::byte* get() const { return static_cast<std::byte*>(memory_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

// Scratch that grows to what is asked for; its content is lost then, and the device is waited for.
class Scratch {
 public:
  template <class T>
  T* of(size_t count, Stream stream) {
    if (count * sizeof(T) > memory_.bytes()) {
      synchronize(stream);
      memory_ = DeviceMemory();
      auto larger = DeviceMemory::allocate(count * sizeof(T));
      SLUICE_CHECK(larger.ok());
      memory_ = std::move(larger).value();
    }
    return memory_.as<T>();
  }

 private:
  DeviceMemory memory_;
};

// A step's arrays. `begin` with room for all of them, then one `add` each, which returns where the array will
// lie on the device, then `send`. The host may begin again only when the device has taken what was sent.
class StepArrays {
 public:
  StepArrays() = default;
  StepArrays(const StepArrays&) = delete;
  StepArrays& operator=(const StepArrays&) = delete;
  ~StepArrays() {
    if (pinned_ != nullptr) free_pinned_memory(pinned_);
  }

  // What `count` elements take, with what aligns them.
  template <class T>
  static constexpr size_t room_for(size_t count) {
    return (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  void begin(size_t bytes, Stream stream) {
    used_ = 0;
    if (bytes <= capacity_) return;
    synchronize(stream);
    if (pinned_ != nullptr) free_pinned_memory(pinned_);
    capacity_ = bytes + bytes / 2;
    auto pinned = allocate_pinned_memory(capacity_);
    SLUICE_CHECK(pinned.ok());
    pinned_ = *pinned;
    auto memory = DeviceMemory::allocate(capacity_);
    SLUICE_CHECK(memory.ok());
    device_ = std::move(memory).value();
  }

  template <class T>
  T* add(std::span<const T> values) {
    T* const to = reserve<T>(values.size());
    if (!values.empty()) std::memcpy(to, values.data(), values.size_bytes());
    return on_device(to);
  }
  // Room on the host, to be written before `send`.
  template <class T>
  T* reserve(size_t count) {
    SLUICE_CHECK_LE(used_ + room_for<T>(count), capacity_);
    std::byte* const to = static_cast<std::byte*>(pinned_) + used_;
    used_ += room_for<T>(count);
    return reinterpret_cast<T*>(to);
  }
  template <class T>
  T* on_device(T* reserved) const {
    return reinterpret_cast<T*>(device_.get() +
                                (reinterpret_cast<std::byte*>(reserved) - static_cast<std::byte*>(pinned_)));
  }
  void send(Stream stream) const {
    if (used_ > 0) copy_to_device(device_.get(), pinned_, used_, stream);
  }

 private:
  static constexpr size_t kAlignment = 256;
  void* pinned_ = nullptr;
  DeviceMemory device_;
  size_t capacity_ = 0, used_ = 0;
};

}  // namespace sluice::cuda
