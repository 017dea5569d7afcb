#include "kernels/make_backend.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace sluice {

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  if (options.device == "auto" || options.device == "cpu")
    return make_cpu_backend(options.threads, options.isa);
  if (options.device == "reference") return make_reference_backend();
  return invalid_argument("device", "device must be auto, cpu or reference, not '" + options.device + "'.");
}

}  // namespace sluice
