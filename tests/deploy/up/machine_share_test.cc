#include "deploy/up/machine_share.h"

#include <gtest/gtest.h>

namespace sluice::up {
namespace {

TEST(MachineShare, cores_are_divided_as_if_all_ran) {
  EXPECT_EQ(share_of({.cores = 16}, 1, 4).threads, 4);
  EXPECT_EQ(share_of({.cores = 2}, 3, 8).threads, 1);
  EXPECT_EQ(share_of({.cores = 7}, 1, 2).threads, 3);
  EXPECT_TRUE(share_of({.cores = 2}, 1, 2).gpu.empty());
}

TEST(MachineShare, gpus_go_round) {
  const Machine machine{.cores = 8, .gpus = {"0", "1", "GPU-a"}};
  EXPECT_EQ(share_of(machine, 1, 3).gpu, "0");
  EXPECT_EQ(share_of(machine, 3, 3).gpu, "GPU-a");
  EXPECT_EQ(share_of(machine, 3, 3).gpu_memory_utilization, 0);  // alone on it
  EXPECT_EQ(share_of(machine, 4, 5).gpu, "0");
  EXPECT_DOUBLE_EQ(share_of(machine, 4, 5).gpu_memory_utilization, 0.45);
}

TEST(MachineShare, sees_what_it_may_use) {
  const Machine machine = look_around("2,,GPU-b");
  EXPECT_GE(machine.cores, 1);
  EXPECT_EQ(machine.gpus, (std::vector<std::string>{"2", "GPU-b"}));
  EXPECT_TRUE(look_around("").gpus.empty());
}

}  // namespace
}  // namespace sluice::up
