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

// "cuda" or "cuda:N".
Result<std::unique_ptr<Backend>> make_gpu_backend(const BackendOptions& options) {
  cuda::CudaBackendOptions cuda{.deterministic = options.deterministic, .graphs = options.graphs};
  std::string_view number = std::string_view(options.device).substr(kCuda.size());
  if (!number.empty()) {
    number.remove_prefix(1);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), cuda.device);
    if (error != std::errc() || end != number.data() + number.size() || cuda.device < 0)
      return invalid_argument("device", "device must be cuda:N with N from 0, not '" + options.device + "'.");
  }
  SLUICE_ASSIGN(const CudaLibrary library, CudaLibrary::open());
  return library.make_backend(cuda);
}

bool has_gpu() {
  const auto library = CudaLibrary::open();
  std::string why;
  return library.ok() && !library->devices(why).empty();
}

}  // namespace

std::vector<std::string> describe_gpus() {
  const auto library = CudaLibrary::open();
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
  if (device == kCuda || device.starts_with("cuda:")) return make_gpu_backend(options);
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
  BackendOptions each = options;
  const auto ranks = static_cast<size_t>(options.ranks);
  if (ranks > 1) {
    const int threads = options.threads > 0 ? options.threads : cpu::usable_cores();
    each.threads = std::max(1, threads / options.ranks);
  }
  while (backends.size() < ranks) {
    SLUICE_ASSIGN(auto backend, make_backend(each));
    backends.push_back(std::move(backend));
  }
  if (ranks > 1) {
    auto collectives = make_shared_memory_collectives(options.ranks);
    for (size_t r = 0; r < ranks; ++r) backends[r]->join(std::move(collectives[r]));
  }
  return backends;
}

}  // namespace sluice
