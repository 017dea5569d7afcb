// The one place that knows which backends exist.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice {

struct BackendOptions {
  std::string device = "auto";  // auto, cpu, reference
  int threads = 0;              // CPU threads that compute; 0: one per physical core this process may use
  std::string isa = "auto";     // cpu only, for tests: auto, avx2, avx512, avx512_vnni, avx512_bf16
};

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options);

}  // namespace sluice
