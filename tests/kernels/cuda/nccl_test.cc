// The collective of GPUs: what it says where NCCL or a GPU is missing; on a GPU, a group of one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/cuda/nccl_collective.h"
#include "kernels/cuda/runtime.h"

namespace sluice::cuda {
namespace {

TEST(Nccl, says_what_is_missing) {
  const auto id = make_nccl_id();
  if (id.ok()) GTEST_SKIP() << "NCCL is there";
  EXPECT_EQ(id.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(id.error().param, "--tensor-parallel-size");
  EXPECT_THAT(id.error().message, ::testing::HasSubstr("NCCL"));
}

TEST(Nccl, a_group_of_one_sums_and_gathers_its_own) {
  std::string why;
  if (find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
  const auto id = make_nccl_id();
  if (!id.ok()) GTEST_SKIP() << id.error().message;
  ASSERT_TRUE(use_device(0).ok());
  MemoryMoves moves;
  const Stream stream = make_stream();
  auto group = make_nccl_collective(*id, {0, 1}, stream, moves);
  ASSERT_TRUE(group.ok()) << group.error().message;

  constexpr int64_t kRows = 3, kColumns = 40, kStride = 48;
  std::vector<uint16_t> rows(kRows * kColumns);
  std::iota(rows.begin(), rows.end(), uint16_t{0x3f80});  // finite bf16
  const auto on_device = DeviceMemory::allocate(rows.size() * 2);
  const auto gathered = DeviceMemory::allocate(kRows * kStride * 2);
  ASSERT_TRUE(on_device.ok() && gathered.ok());
  copy_to_device(on_device->get(), rows.data(), rows.size() * 2, stream);
  const TensorView x = TensorView::of(on_device->get(), DType::kBF16, kRows, kColumns);
  EXPECT_TRUE((*group)->all_reduce(x).ok());
  TensorView out = TensorView::of(gathered->get(), DType::kBF16, kRows, kColumns);
  out.row_stride = kStride;
  EXPECT_TRUE((*group)->all_gather(x, out).ok());
  std::vector<uint16_t> result(kRows * kStride);
  copy_to_host(result.data(), gathered->get(), result.size() * 2, stream);
  synchronize(stream);
  for (int64_t t = 0; t < kRows; ++t)
    for (int64_t i = 0; i < kColumns; ++i)
      EXPECT_EQ(result[static_cast<size_t>(t * kStride + i)], rows[static_cast<size_t>(t * kColumns + i)]);
  group->reset();
  destroy_stream(stream);
}

}  // namespace
}  // namespace sluice::cuda
