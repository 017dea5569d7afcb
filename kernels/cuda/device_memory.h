// Owners of memory on a device, and the way of a step's small arrays to it: written into pinned memory one
// after another, sent in one copy. Memory only grows: after the largest step nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {

template <auto kAllocate, auto kFree>
class OwnedMemory {
 public:
  OwnedMemory() = default;
  static Result<OwnedMemory> allocate(size_t bytes) {
    OwnedMemory memory;
    SLUICE_ASSIGN(memory.memory_, kAllocate(bytes > 0 ? bytes : 1));
    memory.bytes_ = bytes;
    return memory;
  }
  OwnedMemory(OwnedMemory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  OwnedMemory& operator=(OwnedMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~OwnedMemory() {
    if (memory_ != nullptr) kFree(memory_);
  }

  // To larger memory; the content is lost, and nobody may still be reading or writing it.
  void grow_to(size_t bytes) {
    if (bytes <= bytes_) return;
    { const OwnedMemory given_up = std::move(*this); }
    auto larger = allocate(bytes);
    SLUICE_CHECK(larger.ok());
    *this = std::move(larger).value();
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
using DeviceMemory = OwnedMemory<allocate_device_memory, free_device_memory>;
using Pinned = OwnedMemory<allocate_pinned_memory, free_pinned_memory>;  // of the host

// Counts how often memory was given up for larger: who keeps addresses (graphs) looks whether it has changed.
struct MemoryMoves {
  uint64_t count = 0;
};

// Scratch that grows to what is asked for; its content is lost then, and the device is waited for.
class Scratch {
 public:
  explicit Scratch(MemoryMoves& moves) : moves_(moves) {}

  template <class T>
  T* of(size_t count, Stream stream) {
    if (count * sizeof(T) > memory_.bytes()) {
      synchronize(stream);
      memory_.grow_to(count * sizeof(T));
      ++moves_.count;
    }
    return memory_.as<T>();
  }
  size_t bytes() const { return memory_.bytes(); }

 private:
  MemoryMoves& moves_;
  DeviceMemory memory_;
};

// A step's arrays. `begin` with room for all of them, then one `add` each, which returns where the array will
// lie on the device, then `send`. The same arrays of the same lengths lie where they lay. Written by turns
// into two places on the host: so the host may begin again when the device has taken what was sent before the
// last time.
class StepArrays {
 public:
  explicit StepArrays(MemoryMoves& moves) : device_(moves) {}

  // What `count` elements take, with what aligns them.
  template <class T>
  static constexpr size_t room_for(size_t count) {
    return (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  void begin(size_t bytes, Stream stream) {
    used_ = 0;
    turn_ ^= 1;
    if (bytes > host().bytes()) {
      synchronize(stream);
      host().grow_to(bytes + bytes / 2);
    }
    if (bytes > device_.bytes()) device_.of<std::byte>(bytes + bytes / 2, stream);
    base_ = device_.of<std::byte>(bytes, stream);
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
    SLUICE_CHECK_LE(used_ + room_for<T>(count), host().bytes());
    std::byte* const to = host().as<std::byte>() + used_;
    used_ += room_for<T>(count);
    return reinterpret_cast<T*>(to);
  }
  template <class T>
  T* on_device(T* reserved) const {
    return reinterpret_cast<T*>(base_ + (reinterpret_cast<std::byte*>(reserved) - host().as<std::byte>()));
  }
  void send(Stream stream) const {
    if (used_ > 0) copy_to_device(base_, host().as<std::byte>(), used_, stream);
  }

 private:
  static constexpr size_t kAlignment = 256;
  Pinned& host() { return hosts_[turn_]; }
  const Pinned& host() const { return hosts_[turn_]; }

  Pinned hosts_[2];
  int turn_ = 0;
  Scratch device_;
  std::byte* base_ = nullptr;
  size_t used_ = 0;
};

}  // namespace sluice::cuda
