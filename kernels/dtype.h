// Element types of activations and the KV cache, and the formats in which weights arrive in model files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice {

// kF8: E4M3 without infinities (https://arxiv.org/abs/2209.05433), as NVIDIA's and PyTorch's float8_e4m3fn.
enum class DType : uint8_t { kF32, kF16, kBF16, kF8, kI8, kI32 };

constexpr size_t bytes_of(DType t) {
  switch (t) {
    case DType::kF32: case DType::kI32: return 4;
    case DType::kF16: case DType::kBF16: return 2;
    case DType::kF8: case DType::kI8: return 1;
  }
  return 0;
}

// Names as GGUF spells them; the quantised ones are described in kernels/quant_blocks.h. The last three are
// what GPTQ, AWQ and FP8 checkpoints become: 4 bits with a scale and a zero for 32 or 64 weights, and E4M3
// with scales beside it (kernels/host_weight.h).
enum class WeightFormat : uint8_t {
  kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K,
  kI4_32, kI4_64, kF8,
};

struct WeightFormatFacts {
  std::string_view name;
  int block_weights;  // weights per block along a row; a row's length is a multiple of it
  int block_bytes;
};

constexpr WeightFormatFacts facts_of(WeightFormat f) {
  switch (f) {
    case WeightFormat::kF32: return {"F32", 1, 4};
    case WeightFormat::kF16: return {"F16", 1, 2};
    case WeightFormat::kBF16: return {"BF16", 1, 2};
    case WeightFormat::kQ4_0: return {"Q4_0", 32, 18};
    case WeightFormat::kQ4_1: return {"Q4_1", 32, 20};
    case WeightFormat::kQ5_0: return {"Q5_0", 32, 22};
    case WeightFormat::kQ5_1: return {"Q5_1", 32, 24};
    case WeightFormat::kQ8_0: return {"Q8_0", 32, 34};
    case WeightFormat::kQ2_K: return {"Q2_K", 256, 84};
    case WeightFormat::kQ3_K: return {"Q3_K", 256, 110};
    case WeightFormat::kQ4_K: return {"Q4_K", 256, 144};
    case WeightFormat::kQ5_K: return {"Q5_K", 256, 176};
    case WeightFormat::kQ6_K: return {"Q6_K", 256, 210};
    case WeightFormat::kI4_32: return {"I4_32", 32, 21};
    case WeightFormat::kI4_64: return {"I4_64", 64, 37};
    case WeightFormat::kF8: return {"F8", 8, 8};
  }
  return {"?", 1, 0};
}

constexpr std::string_view name_of(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kF8: return "f8";
    case DType::kI8: return "i8";
    case DType::kI32: return "i32";
  }
  return "?";
}

// Scalar conversions. To bf16 and f16: round to nearest even; NaN stays NaN.
inline float bf16_to_f32(uint16_t v) { return __builtin_bit_cast(float, static_cast<uint32_t>(v) << 16); }
inline uint16_t f32_to_bf16(float f) {
  const auto u = __builtin_bit_cast(uint32_t, f);
  if ((u & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1)) >> 16);
}
inline float f16_to_f32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000U) << 16;
  const uint32_t magnitude = h & 0x7fffU;
  if (magnitude >= 0x7c00U)
    return __builtin_bit_cast(float, sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13));
  if (magnitude >= 0x400U) return __builtin_bit_cast(float, sign | ((magnitude + 0x1c000U) << 13));
  const float small = static_cast<float>(magnitude) * 0x1p-24f;  // subnormal or zero
  return sign != 0 ? -small : small;
}
inline uint16_t f32_to_f16(float f) {
  const auto u = __builtin_bit_cast(uint32_t, f);
  const uint32_t sign = (u >> 16) & 0x8000U;
  const uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x477ff000U) return static_cast<uint16_t>(sign | 0x7c00U);  // rounds to infinity
  if (magnitude < 0x38800000U) {  // subnormal: let the addition round
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (__builtin_bit_cast(uint32_t, shifted) - 0x3f000000U));
  }
  return static_cast<uint16_t>(sign | ((magnitude + 0xc8000000U + 0xfffU + ((magnitude >> 13) & 1)) >> 13));
}
inline constexpr float kLargestF8 = 448.0F;
inline float f8_to_f32(uint8_t v) {
  const int exponent = v >> 3 & 15, mantissa = v & 7;
  float magnitude = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9f
                                  : __builtin_bit_cast(float, static_cast<uint32_t>((exponent + 120) << 23 |
                                                                                    mantissa << 20));
  if ((v & 0x7f) == 0x7f) magnitude = __builtin_nanf("");
  return (v & 0x80) != 0 ? -magnitude : magnitude;
}
inline uint8_t f32_to_f8(float f) {  // what is too large becomes 448
  const auto u = __builtin_bit_cast(uint32_t, f);
  const auto sign = static_cast<uint8_t>(u >> 24 & 0x80U);
  const uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<uint8_t>(sign | 0x7fU);
  if (magnitude >= 0x43e00000U) return static_cast<uint8_t>(sign | 0x7eU);
  if (magnitude < 0x3c800000U) {  // subnormal, units of 2^-9: let the addition round
    const float shifted = __builtin_bit_cast(float, magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (__builtin_bit_cast(uint32_t, shifted) - 0x46800000U));
  }
  const uint32_t rounded = magnitude + 0x7ffffU + (magnitude >> 20 & 1U);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120U << 3)));
}

}  // namespace sluice
