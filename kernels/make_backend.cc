#include "kernels/make_backend.h"

#include <algorithm>
#include <charconv>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cuda_library.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/shared_memory_collective.h"

namespace sluice {
namespace {

constexpr std::string_view kCuda = "cuda";

// Looked for once: whoever describes the devices chooses among the same.
const Result<CudaLibrary>& cuda_library() {
  static const Result<CudaLibrary> library = CudaLibrary::open();
  return library;
}

// Of "cuda" or "cuda:N".
Result<int> gpu_number(const std::string& device) {
  std::string_view number = std::string_view(device).substr(kCuda.size());
  if (number.empty()) return 0;
  number.remove_prefix(1);
  int index = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  if (error != std::errc() || end != number.data() + number.size() || index < 0)
    return invalid_argument("device", "device must be cuda:N with N from 0, not '" + device + "'.");
  return index;
}

Result<std::unique_ptr<Backend>> make_gpu_backend(const BackendOptions& options, int after_first = 0) {
  SLUICE_ASSIGN(const int first, gpu_number(options.device));
  const auto& library = cuda_library();
  if (!library.ok()) return library.error();
  return library->make_backend(
      {.device = first + after_first, .deterministic = options.deterministic, .graphs = options.graphs});
}

bool names_gpu(const std::string& device) {
  return device == kCuda || device.starts_with("cuda:");
}

bool has_gpu() {
  const auto& library = cuda_library();
  std::string why;
  return library.ok() && !library->devices(why).empty();
}

}  // namespace

std::vector<std::string> describe_gpus() {
  const auto& library = cuda_library();
  if (!library.ok()) return {"no GPU: " + library.error().message};
  std::string why;
  std::vector<std::string> lines;
  int index = 0;
  for (const cuda::DeviceProperties& gpu : library->devices(why)) {
    lines.push_back("cuda:" + std::to_string(index++) + ": " + gpu.name + ", compute capability " +
                    std::to_string(gpu.major) + "." + std::to_string(gpu.minor) + ", " +
                    std::to_string(gpu.memory_bytes >> 30) + " GiB");
  }
  if (lines.empty()) lines.push_back("no GPU: " + (why.empty() ? "the driver finds none" : why));
  return lines;
}

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  const std::string& device = options.device;
  if (device == "reference") return make_reference_backend();
  if (names_gpu(device)) return make_gpu_backend(options);
  if (device == "auto" && has_gpu()) {
    BackendOptions first = options;
    first.device = kCuda;
    return make_gpu_backend(first);
  }
  if (device == "auto" || device == "cpu") return make_cpu_backend(options.threads, options.isa);
  return invalid_argument("device",
                          "device must be auto, cpu, cuda, cuda:N or reference, not '" + device + "'.");
}

Result<std::vector<std::unique_ptr<Backend>>> make_backends(const BackendOptions& options) {
  std::vector<std::unique_ptr<Backend>> backends;
  if (options.ranks == 1) {
    SLUICE_ASSIGN(auto backend, make_backend(options));
    backends.push_back(std::move(backend));
    return backends;
  }
  BackendOptions each = options;
  if (each.device == "auto" && has_gpu()) each.device = kCuda;
  const bool gpus = names_gpu(each.device);
  const int threads = options.threads > 0 ? options.threads : cpu::usable_cores();
  each.threads = std::max(1, threads / options.ranks);
  for (int r = 0; r < options.ranks; ++r) {
    SLUICE_ASSIGN(auto backend, gpus ? make_gpu_backend(each, r) : make_backend(each));
    backends.push_back(std::move(backend));
  }
  if (gpus) {
    SLUICE_TRY(cuda_library()->join(backends));  // opened, or no backend was made
    return backends;
  }
  auto collectives = make_shared_memory_collectives(options.ranks);
  for (size_t r = 0; r < backends.size(); ++r) backends[r]->join(std::move(collectives[r]));
  return backends;
}

}  // namespace sluice
