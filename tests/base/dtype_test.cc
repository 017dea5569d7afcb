#include "kernels/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice {
namespace {

TEST(Dtype, every_f16_survives_the_way_to_f32_and_back) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = f16_to_f32(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      EXPECT_EQ(f32_to_f16(value), half) << bits;
      EXPECT_EQ(value, static_cast<float>(__builtin_bit_cast(_Float16, half))) << bits;
    }
  }
}

TEST(Dtype, f16_rounds_to_nearest_even_as_the_compiler_does) {
  for (uint32_t bits = 0; bits < 0xffff0000U; bits += 4099) {
    const float value = __builtin_bit_cast(float, bits);
    if (std::isnan(value)) continue;
    EXPECT_EQ(f32_to_f16(value), __builtin_bit_cast(uint16_t, static_cast<_Float16>(value))) << value;
  }
}

TEST(Dtype, bf16_rounds_to_nearest_even) {
  EXPECT_EQ(f32_to_bf16(1.0F), 0x3f80);
  EXPECT_EQ(f32_to_bf16(__builtin_bit_cast(float, 0x3f808000U)), 0x3f80);  // a tie goes to even
  EXPECT_EQ(f32_to_bf16(__builtin_bit_cast(float, 0x3f818000U)), 0x3f82);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

}  // namespace
}  // namespace sluice
