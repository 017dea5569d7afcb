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
  for (const char* device : {"abacus", "cuda:x", "cuda:-1", "cuda:", "cudas"})
    EXPECT_EQ(make_backend({.device = device}).error().param, "device") << device;
  EXPECT_EQ(make_backend({.device = "cuda:1x"}).error().code, ErrorCode::kInvalidArgument);
  const auto isa = make_backend({.isa = "avx1024"});
  ASSERT_FALSE(isa.ok());
  EXPECT_EQ(isa.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(isa.error().message.find("avx2"), std::string::npos);
  EXPECT_EQ(make_backend({.threads = -1}).error().param, "threads");
}

TEST(MakeBackend, says_what_gpus_there_are_or_why_not) {
  const std::vector<std::string> gpus = describe_gpus();
  ASSERT_FALSE(gpus.empty());
  const auto backend = make_backend({.device = "cuda"});
  EXPECT_EQ(backend.ok(), gpus[0].starts_with("cuda:0")) << gpus[0];
  if (!backend.ok()) {
    EXPECT_EQ(backend.error().code, ErrorCode::kUnavailable);
    EXPECT_FALSE(backend.error().message.empty());
  }
}

TEST(MakeBackend, makes_a_group_of_ranks_that_share_the_threads) {
  const auto ranks = make_backends({.device = "cpu", .ranks = 2, .threads = 5});
  ASSERT_EQ(ranks->size(), 2U);
  for (int r = 0; r < 2; ++r) {
    const Backend& backend = *(*ranks)[static_cast<size_t>(r)];
    EXPECT_EQ(backend.rank().index, r);
    EXPECT_EQ(backend.rank().count, 2);
    EXPECT_NE(backend.facts().name.find("2 threads"), std::string::npos);
  }
  EXPECT_EQ(make_backends({})->at(0)->rank().count, 1);
  const auto gpus = make_backends({.device = "cuda", .ranks = 1000});
  ASSERT_FALSE(gpus.ok());
  EXPECT_EQ(gpus.error().code, ErrorCode::kUnavailable);
}

TEST(MakeBackend, the_cpu_tells_its_memory_and_threads) {
  const DeviceFacts facts = make_backend({.threads = 2}).value()->facts();
  EXPECT_GT(facts.memory_bytes, size_t{64} << 20);
  EXPECT_LE(facts.memory_free_bytes, facts.memory_bytes);
  EXPECT_NE(facts.name.find("2 threads"), std::string::npos);
}

}  // namespace
}  // namespace sluice
