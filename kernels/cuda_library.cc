#include "kernels/cuda_library.h"

#include <dlfcn.h>

#include <unistd.h>
#include <array>
#include <climits>

#include "kernels/cuda/library_face.h"

namespace sluice {
namespace {

constexpr const char* kName = "libsluice_cuda.so";

// Beside the program, then where the system looks for libraries.
std::array<std::string, 2> places() {
  char program[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program);
  std::string folder(program, length > 0 ? static_cast<size_t>(length) : 0);
  folder.resize(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/') + 1);
  return {folder + kName, kName};
}

Error unavailable(const std::string& message) {
  return {ErrorCode::kUnavailable, message, "device"};
}

}  // namespace

Result<CudaLibrary> CudaLibrary::open() {
  std::string reason;  // why one that is there cannot be opened
  for (const std::string& place : places()) {
    void* const handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* const words = dlerror();
      if (reason.empty() && words != nullptr && access(place.c_str(), F_OK) == 0) reason = words;
      continue;
    }
    const auto* const face = static_cast<const cuda::LibraryFace*>(dlsym(handle, cuda::kLibraryFaceName));
    if (face == nullptr || face->build != cuda::kLibraryBuild) {
      dlclose(handle);
      return unavailable(place + " belongs to another build of Sluice; build both together.");
    }
    CudaLibrary library;
    library.find_devices_ = face->find_devices;
    library.make_backend_ = face->make_backend;
    library.join_ = face->join;
    return library;
  }
  if (!reason.empty()) return unavailable("The CUDA backend cannot be opened: " + reason + ".");
  return unavailable("This build has no CUDA backend; ./run --cuda makes one.");
}

}  // namespace sluice
