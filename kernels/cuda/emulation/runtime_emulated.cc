// The runtime of the emulated device: host memory, work done when it is enqueued.
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/emulation/stream.h"
#include "kernels/cuda/nccl_collective.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {
namespace {

constexpr size_t kAlignment = 256;

class EmulatedGraph final : public Graph {
 public:
  explicit EmulatedGraph(std::vector<std::function<void()>> work) : work_(std::move(work)) {}
  void launch(Stream stream) override {
    for (const auto& one : work_) emulation::enqueue(stream, one);
  }

 private:
  const std::vector<std::function<void()>> work_;
};

}  // namespace

std::vector<DeviceProperties> find_devices(std::string& why) {
  why.clear();
  return {{"emulated GPU", 9, 0, 4, size_t{1} << 30}};
}

Status use_device(int) {
  return {};
}

size_t free_memory() {
  return size_t{1} << 30;
}

Result<void*> allocate_device_memory(size_t bytes) {
  void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (memory == nullptr) return Error{ErrorCode::kOutOfMemory, "The emulated GPU has no memory left."};
  std::memset(memory, 0xff, bytes);  // not-a-numbers: what nobody wrote shows
  return memory;
}

void free_device_memory(void* memory) {
  std::free(memory);
}

Result<void*> allocate_pinned_memory(size_t bytes) {
  return allocate_device_memory(bytes);
}

void free_pinned_memory(void* memory) {
  std::free(memory);
}

Stream make_stream() {
  return new CUstream_st;
}

void destroy_stream(Stream stream) {
  delete stream;
}

void synchronize(Stream stream) {
  SLUICE_CHECK(stream == nullptr || !stream->capturing);
}

void copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  emulation::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

void copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  emulation::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  emulation::enqueue(stream, [=] { std::memmove(to, from, bytes); });
}

void copy_rows_on_device(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                         int64_t rows, Stream stream) {
  emulation::enqueue(stream, [=] {
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
      std::memmove(static_cast<std::byte*>(to) + r * to_stride,
                   static_cast<const std::byte*>(from) + r * from_stride, bytes);
  });
}

void fill_with_zeros(void* to, size_t bytes, Stream stream) {
  emulation::enqueue(stream, [=] { std::memset(to, 0, bytes); });
}

// Work is done when it is enqueued: nothing is ever waited for.
Event make_event() {
  return reinterpret_cast<Event>(new char);
}

void destroy_event(Event event) {
  delete reinterpret_cast<char*>(event);
}

void record(Event, Stream) {}

void wait_for(Event) {}
bool wait_for(Event, std::chrono::nanoseconds) {
  return true;
}

void begin_capture(Stream stream) {
  SLUICE_CHECK(!stream->capturing);
  stream->capturing = true;
}

std::unique_ptr<Graph> end_capture(Stream stream) {
  SLUICE_CHECK(stream->capturing);
  stream->capturing = false;
  auto work = std::move(stream->captured);
  stream->captured.clear();
  return std::make_unique<EmulatedGraph>(std::move(work));
}

Result<NcclId> make_nccl_id() {
  return Error{ErrorCode::kUnavailable, "An emulated device has no NCCL.", "--tensor-parallel-size"};
}

Result<std::unique_ptr<Collective>> make_nccl_collective(const NcclId&, DeviceRank, Stream, MemoryMoves&) {
  return make_nccl_id().error();
}

Result<std::unique_ptr<DenseLibrary>> open_cublaslt() {
  return Error{ErrorCode::kUnavailable, "The emulated GPU has no cuBLASLt.", ""};
}

}  // namespace sluice::cuda
