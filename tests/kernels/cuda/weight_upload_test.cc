#include "kernels/cuda/weight_upload.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <numeric>

#include "kernels/host_weight.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda {
namespace {

using testing::DeviceArray;

class Upload : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
  }
};

// More than the room holds, so that places are filled anew; the last piece is a short one.
TEST_F(Upload, brings_every_piece_to_its_place) {
  constexpr size_t kUnit = 3072, kBytes = (kUploadBytes * 3 / kUnit + 5) * kUnit / 2 / kUnit * kUnit;
  const DeviceArray<uint32_t> to(kBytes / 4);
  WeightUpload upload(nullptr);
  std::atomic<size_t> filled = 0;
  const auto fill = [&](size_t offset, size_t bytes, std::byte* piece) {
    EXPECT_EQ(offset % kUnit, 0U);
    EXPECT_EQ(bytes % kUnit, 0U);
    filled += bytes;
    auto* const words = reinterpret_cast<uint32_t*>(piece);
    std::iota(words, words + bytes / 4, static_cast<uint32_t>(offset / 4));
    return Status{};
  };
  ASSERT_TRUE(upload.send(reinterpret_cast<std::byte*>(to.get()), kBytes, kUnit, fill).ok());
  EXPECT_EQ(filled, kBytes);
  const std::vector<uint32_t> got = to.take();
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], i);
}

TEST_F(Upload, stops_at_the_first_error_and_can_be_used_again) {
  const DeviceArray<std::byte> to(kUploadBytes * 2);
  WeightUpload upload(nullptr);
  const auto fail = [](size_t offset, size_t, std::byte*) -> Status {
    if (offset < kUploadBytes) return {};
    return Error{ErrorCode::kIo, "the disk is gone", ""};
  };
  const Status failed = upload.send(to.get(), to.size(), 1, fail);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "the disk is gone");
  const std::vector<std::byte> some(1000, std::byte{7});
  upload.release();
  EXPECT_TRUE(upload.send(to.get(), some.data(), some.size()).ok());
  EXPECT_EQ(to.take()[999], std::byte{7});
  EXPECT_FALSE(upload.send(to.get(), 1, kUploadPiece + 1, fail).ok());
}

TEST(CopyRows, reads_the_file_and_names_it_when_it_ends_early) {
  char path[] = "/tmp/sluice_rows_XXXXXX";
  const int descriptor = mkstemp(path);
  std::vector<uint16_t> values(4 * 8);
  std::iota(values.begin(), values.end(), uint16_t{0});
  ASSERT_EQ(write(descriptor, "padding", 7), 7);
  ASSERT_EQ(write(descriptor, values.data(), 64), 64);
  // What stands in memory is another: the file is what must be read.
  const std::vector<uint16_t> memory(values.size(), 99);
  HostWeight weight{reinterpret_cast<const std::byte*>(memory.data()), WeightFormat::kBF16, 4, 8};
  weight.file = {descriptor, 7, path};
  std::vector<uint16_t> got(32);
  ASSERT_TRUE(copy_rows(weight, 1, 2, reinterpret_cast<std::byte*>(got.data())).ok());
  EXPECT_TRUE(std::equal(values.begin() + 8, values.begin() + 24, got.begin()));
  const HostWeight part = weight.row_slice(1, 3).column_slice(2, 4);
  ASSERT_TRUE(copy_rows(part, 1, 2, reinterpret_cast<std::byte*>(got.data())).ok());
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(got[i], (i / 4 + 2) * 8 + 2 + i % 4);
  ASSERT_EQ(ftruncate(descriptor, 40), 0);
  const Status cut = copy_rows(weight, 0, 4, reinterpret_cast<std::byte*>(got.data()));
  ASSERT_FALSE(cut.ok());
  EXPECT_NE(cut.error().message.find(path), std::string::npos);
  weight.file = {};
  ASSERT_TRUE(copy_rows(weight, 0, 1, reinterpret_cast<std::byte*>(got.data())).ok());
  EXPECT_EQ(got[7], 99);
  close(descriptor);
  unlink(path);
}

}  // namespace
}  // namespace sluice::cuda
