#include "kernels/make_backend.h"

#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"

namespace sluice {
namespace {

TEST(MakeBackend, makes_what_was_asked_for) {
  EXPECT_EQ(make_backend({}).value()->facts().kind, "cpu");
  EXPECT_EQ(make_backend({.device = "cpu", .threads = 2}).value()->facts().kind, "cpu");
  EXPECT_EQ(make_backend({.device = "reference"}).value()->facts().kind, "reference");
  for (const std::string& isa : cpu_isas())
    EXPECT_TRUE(make_backend({.device = "cpu", .threads = 1, .isa = isa}).ok()) << isa;
}

TEST(MakeBackend, says_what_is_possible_when_it_cannot) {
  EXPECT_EQ(make_backend({.device = "abacus"}).error().param, "device");
  const auto isa = make_backend({.isa = "avx1024"});
  ASSERT_FALSE(isa.ok());
  EXPECT_EQ(isa.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(isa.error().message.find("avx2"), std::string::npos);
  EXPECT_EQ(make_backend({.threads = -1}).error().param, "threads");
}

TEST(MakeBackend, the_cpu_tells_its_memory_and_threads) {
  const DeviceFacts facts = make_backend({.threads = 2}).value()->facts();
  EXPECT_GT(facts.memory_bytes, size_t{64} << 20);
  EXPECT_LE(facts.memory_free_bytes, facts.memory_bytes);
  EXPECT_NE(facts.name.find("2 threads"), std::string::npos);
}

}  // namespace
}  // namespace sluice
