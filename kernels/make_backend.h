// The one place that knows which backends exist.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice {

struct BackendOptions {
  std::string device = "auto";  // auto (a GPU where there is one, else cpu), cpu, cuda, cuda:N, reference
  int ranks = 1;                // devices that compute a model together; of cuda:N those from N on
  int threads = 0;              // CPU threads that compute; 0: one per physical core this process may use
  std::string isa = "auto";     // cpu only, for tests: auto, avx2, avx512, avx512_vnni, avx512_bf16
  bool deterministic = false;   // cuda only, like the next; see kernels/cuda/cuda_backend.h
  bool graphs = true;
};

// One line for each GPU that could be used, or one that says why there is none.
std::vector<std::string> describe_gpus();

// Whatever `ranks` says.
Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options);
// One for each rank, joined to one group when there are several; of CPUs, each has its share of the threads.
// A rank's operations are to be issued from a thread of its own: they wait for one another.
Result<std::vector<std::unique_ptr<Backend>>> make_backends(const BackendOptions& options);

}  // namespace sluice
