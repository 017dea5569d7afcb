// Every kernel against the reference, on the device that this program was built for.
#include <gtest/gtest.h>

#include "kernels/cuda/runtime.h"
#include "tests/kernels/cuda/cases.h"

namespace sluice::cuda {
namespace {

class Kernel : public ::testing::TestWithParam<testing::Case> {};

TEST_P(Kernel, agrees_with_the_reference) {
  std::string why;
  if (find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
  EXPECT_EQ(GetParam().run(), "");
}

INSTANTIATE_TEST_SUITE_P(All, Kernel, ::testing::ValuesIn(testing::all_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace sluice::cuda
