#include "kernels/quant_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace sluice {
namespace {

constexpr WeightFormat kFormats[] = {
    WeightFormat::kF32,  WeightFormat::kF16,  WeightFormat::kBF16, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
    WeightFormat::kQ5_0, WeightFormat::kQ5_1, WeightFormat::kQ8_0, WeightFormat::kQ2_K, WeightFormat::kQ3_K,
    WeightFormat::kQ4_K, WeightFormat::kQ5_K, WeightFormat::kQ6_K};

std::optional<WeightFormat> format_named(const std::string& name) {
  for (const auto f : kFormats) {
    if (facts_of(f).name == name) return f;
  }
  return std::nullopt;
}

uint32_t take_u32(const char*& p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  p += 4;
  return v;
}

// The file is written by tests/golden/make_quant_golden.py with the gguf package.
TEST(QuantBlocks, decodes_every_format_as_the_gguf_package_does) {
  std::ifstream in("tests/golden/quant_blocks.bin", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  ASSERT_FALSE(bytes.empty());
  int formats = 0;
  for (const char* p = bytes.data(); p < bytes.data() + bytes.size(); ++formats) {
    const uint32_t name_length = take_u32(p);
    const std::string name(p, name_length);
    p += name_length;
    const uint32_t blocks = take_u32(p), block_bytes = take_u32(p), weights = take_u32(p);
    const auto format = format_named(name);
    ASSERT_TRUE(format) << name;
    ASSERT_EQ(facts_of(*format).block_bytes, static_cast<int>(block_bytes)) << name;
    ASSERT_EQ(facts_of(*format).block_weights, static_cast<int>(weights)) << name;
    std::vector<float> got(blocks * weights), want(blocks * weights);
    dequantize(*format, reinterpret_cast<const std::byte*>(p), static_cast<int64_t>(got.size()), got.data());
    p += static_cast<size_t>(blocks) * block_bytes;
    std::memcpy(want.data(), p, want.size() * 4);
    p += want.size() * 4;
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 1e-5 + 1e-5 * std::fabs(want[i])) << name << " " << i;
  }
  EXPECT_EQ(formats, 10);
}

TEST(QuantBlocks, what_was_quantised_comes_back_within_half_a_step) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.05F);
  std::vector<float> weights(256), back(256);
  for (auto& w : weights) w = normal(random);
  const struct {
    WeightFormat format;
    float tolerance;
  } cases[] = {{WeightFormat::kF32, 0},        {WeightFormat::kF16, 1e-4F},  {WeightFormat::kBF16, 1e-3F},
               {WeightFormat::kQ4_0, 0.025F},  {WeightFormat::kQ4_1, 0.02F}, {WeightFormat::kQ5_0, 0.013F},
               {WeightFormat::kQ5_1, 0.01F},   {WeightFormat::kQ8_0, 1e-3F}, {WeightFormat::kI4_32, 0.02F},
               {WeightFormat::kI4_64, 0.025F}, {WeightFormat::kF8, 0.02F}};
  for (const auto& c : cases) {
    std::vector<std::byte> bytes(256 / static_cast<size_t>(facts_of(c.format).block_weights) *
                                 static_cast<size_t>(facts_of(c.format).block_bytes));
    quantize(c.format, weights.data(), 256, bytes.data());
    dequantize(c.format, bytes.data(), 256, back.data());
    for (size_t i = 0; i < 256; ++i)
      ASSERT_NEAR(back[i], weights[i], c.tolerance) << facts_of(c.format).name << " " << i;
  }
}

TEST(QuantBlocks, four_bits_with_a_zero_are_exactly_scale_times_difference) {
  std::byte block[37] = {};
  const float scale = f16_to_f32(0x2a31);  // all bits of an f16
  std::memcpy(block, &scale, 4);
  for (int zero = 0; zero <= 16; ++zero) {
    block[kI4ZeroAt] = static_cast<std::byte>(zero);
    for (size_t j = 0; j < 32; ++j) block[kI4ValuesAt + j] = static_cast<std::byte>(j * 9 + 5);
    float got[64];
    dequantize(WeightFormat::kI4_64, block, 64, got);
    for (size_t i = 0; i < 64; ++i) {
      const auto byte = static_cast<int>((i / 32 * 16 + i % 16) * 9 + 5) & 255;
      const int q = i % 32 < 16 ? byte & 15 : byte >> 4;
      EXPECT_EQ(got[i], static_cast<float>(q - zero) * scale) << zero << " " << i;
    }
  }
}

TEST(F8, keeps_its_own_values_and_rounds_others_to_the_nearest) {
  std::vector<float> values;
  for (int bits = 0; bits < 0x7f; ++bits) {
    values.push_back(f8_to_f32(static_cast<uint8_t>(bits)));
    EXPECT_EQ(f32_to_f8(values.back()), bits);
    EXPECT_EQ(f32_to_f8(-values.back()), bits | 0x80);
  }
  EXPECT_EQ(values.back(), kLargestF8);
  EXPECT_EQ(values[0x38], 1.0F);
  EXPECT_EQ(values[1], 0x1p-9F);
  for (size_t i = 0; i + 1 < values.size(); ++i) {
    ASSERT_LT(values[i], values[i + 1]);
    const float middle = (values[i] + values[i + 1]) / 2;
    EXPECT_EQ(f32_to_f8(std::nextafter(middle, 0.0F)), i);
    EXPECT_EQ(f32_to_f8(std::nextafter(middle, 1e9F)), i + 1);
    EXPECT_EQ(f32_to_f8(middle) % 2, 0) << "a tie goes to the even one";
  }
  EXPECT_EQ(f32_to_f8(1e9F), 0x7e);
  EXPECT_EQ(f32_to_f8(-INFINITY), 0xfe);
  EXPECT_TRUE(std::isnan(f8_to_f32(f32_to_f8(NAN))));
}

}  // namespace
}  // namespace sluice
