// Numbers as they lie in device memory: bits without arithmetic. Kernels convert them (gpu.h).
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace sluice::cuda {

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
struct fp8 {  // DType::kF8
  uint8_t bits;
};
inline constexpr float kLargestFp8 = kLargestF8;

}  // namespace sluice::cuda
