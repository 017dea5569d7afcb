// The CUDA runtime as the backend uses it: devices, memory, queues, graphs. Two implementations stand behind
// it: the real one (runtime_native.cc) and the emulated device of kernels/cuda/emulation
// (runtime_emulated.cc). Loading returns errors; a call that fails later stops the process with CUDA's words,
// and the pod restarts. One thread per device.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t memory_bytes = 0;
};

// Empty where there is no driver or no device; then `why` says so.
std::vector<DeviceProperties> find_devices(std::string& why);
// For this thread, from now on.
Status use_device(int index);
size_t free_memory();

// kOutOfMemory tells how much was asked for and is left. Memory is aligned to 256 bytes, its content unknown.
Result<void*> allocate_device_memory(size_t bytes);
void free_device_memory(void* memory);
// Pinned host memory, which copies go from and to without waiting.
Result<void*> allocate_pinned_memory(size_t bytes);
void free_pinned_memory(void* memory);

Stream make_stream();
void destroy_stream(Stream stream);
void synchronize(Stream stream);
void copy_to_device(void* to, const void* from, size_t bytes, Stream stream);
void copy_to_host(void* to, const void* from, size_t bytes, Stream stream);
void copy_on_device(void* to, const void* from, size_t bytes, Stream stream);
// `rows` runs of `bytes`, which begin `to_stride` and `from_stride` bytes after one another.
void copy_rows_on_device(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                         int64_t rows, Stream stream);
void fill_with_zeros(void* to, size_t bytes, Stream stream);

Event make_event();
void destroy_event(Event event);
void record(Event event, Stream stream);
// Until what stood before the event when it was last recorded is done.
void wait_for(Event event);
// The same; false when it is not done within `limit`.
bool wait_for(Event event, std::chrono::nanoseconds limit);

// Work that was enqueued once and runs again as a whole.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch(Stream stream) = 0;
};
void begin_capture(Stream stream);
std::unique_ptr<Graph> end_capture(Stream stream);

}  // namespace sluice::cuda
