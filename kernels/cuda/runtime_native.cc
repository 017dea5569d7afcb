// The runtime on a real GPU.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/check.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA failed at %s: %s\n", what, cudaGetErrorString(error));
  std::fflush(stderr);
  std::abort();
}

Error no_memory(size_t bytes, cudaError_t error) {
  (void)cudaGetLastError();  // this one is not fatal
  return {ErrorCode::kOutOfMemory, "The GPU has no " + std::to_string(bytes >> 20) + " MiB left (" +
                                       std::to_string(free_memory() >> 20) +
                                       " MiB are free): " + cudaGetErrorString(error) + "."};
}

class NativeGraph final : public Graph {
 public:
  explicit NativeGraph(cudaGraphExec_t graph) : graph_(graph) {}
  ~NativeGraph() override { check(cudaGraphExecDestroy(graph_), "cudaGraphExecDestroy"); }
  void launch(Stream stream) override { check(cudaGraphLaunch(graph_, stream), "cudaGraphLaunch"); }

 private:
  const cudaGraphExec_t graph_;
};

}  // namespace

// Declared in gpu.h, which only nvcc reads.
void check_launch(cudaError_t error, const char* what);
void check_launch(cudaError_t error, const char* what) {
  check(error, what);
}

std::vector<DeviceProperties> find_devices(std::string& why) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  why = error == cudaSuccess ? "" : cudaGetErrorString(error);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    return {};
  }
  std::vector<DeviceProperties> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
    devices.push_back({properties.name, properties.major, properties.minor, properties.multiProcessorCount,
                       properties.totalGlobalMem});
  }
  return devices;
}

Status use_device(int index) {
  if (const cudaError_t error = cudaSetDevice(index); error != cudaSuccess) {
    (void)cudaGetLastError();
    return Error{ErrorCode::kUnavailable,
                 "GPU " + std::to_string(index) + " cannot be used: " + cudaGetErrorString(error) + "."};
  }
  return {};
}

size_t free_memory() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

Result<void*> allocate_device_memory(size_t bytes) {
  void* memory = nullptr;
  if (const cudaError_t error = cudaMalloc(&memory, bytes); error != cudaSuccess)
    return no_memory(bytes, error);
  return memory;
}

void free_device_memory(void* memory) {
  check(cudaFree(memory), "cudaFree");
}

Result<void*> allocate_pinned_memory(size_t bytes) {
  void* memory = nullptr;
  if (const cudaError_t error = cudaMallocHost(&memory, bytes); error != cudaSuccess) {
    (void)cudaGetLastError();
    return Error{ErrorCode::kOutOfMemory, "The host has no " + std::to_string(bytes >> 20) +
                                              " MiB of memory to pin: " + cudaGetErrorString(error) + "."};
  }
  return memory;
}

void free_pinned_memory(void* memory) {
  check(cudaFreeHost(memory), "cudaFreeHost");
}

Stream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}

void destroy_stream(Stream stream) {
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

void synchronize(Stream stream) {
  check(cudaStreamSynchronize(stream), "the work on the device");
}

void copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "a copy to the device");
}

void copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy to the host");
}

void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "a copy on the device");
}

void copy_rows_on_device(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                         int64_t rows, Stream stream) {
  check(cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, static_cast<size_t>(rows),
                          cudaMemcpyDeviceToDevice, stream),
        "a copy on the device");
}

void fill_with_zeros(void* to, size_t bytes, Stream stream) {
  check(cudaMemsetAsync(to, 0, bytes, stream), "cudaMemset");
}

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

void destroy_event(Event event) {
  check(cudaEventDestroy(event), "cudaEventDestroy");
}

void record(Event event, Stream stream) {
  check(cudaEventRecord(event, stream), "cudaEventRecord");
}

void wait_for(Event event) {
  check(cudaEventSynchronize(event), "the work on the device");
}

bool wait_for(Event event, std::chrono::nanoseconds limit) {
  constexpr std::chrono::microseconds kSpin{5000}, kNap{20};
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const cudaError_t state = cudaEventQuery(event);
    if (state != cudaErrorNotReady) {
      check(state, "the work on the device");
      return true;
    }
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > limit) return false;
    if (waited > kSpin) std::this_thread::sleep_for(kNap);
  }
}

void begin_capture(Stream stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

std::unique_ptr<Graph> end_capture(Stream stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t ready = nullptr;
  check(cudaGraphInstantiate(&ready, graph, 0), "cudaGraphInstantiate");
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  return std::make_unique<NativeGraph>(ready);
}

}  // namespace sluice::cuda
