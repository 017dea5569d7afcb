#include "tests/kernels/cuda/cases.h"

#include <fmt/format.h>

namespace sluice::cuda::testing {

std::string judge(const std::string& what, double error, double tolerance) {
  return error <= tolerance ? ""
                            : fmt::format("{} is off by {:.3g}, more than {:.3g}", what, error, tolerance);
}

}  // namespace sluice::cuda::testing
