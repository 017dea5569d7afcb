// The quantised formats of GGUF files and the 4-bit one of GPTQ and AWQ checkpoints, decoded to one common
// form: runs of 16 weights that share a scale and an offset,
//   weight[i] = scale * q[i] + offset.
// Layouts follow ggml (https://github.com/ggml-org/ggml, ggml-common.h); each is drawn in quant_blocks.cc.
// kI4_32 and kI4_64 are our own: scale f32 | zero u8 | qs[16] for each 32 weights, nibbles as in Q4_0;
//   weight[i] = scale * (q[i] - zero), exact while the scale has no more than 19 bits.
// All values are little-endian. Pure functions; any thread. `bytes` must hold whole blocks: the caller has
// checked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace sluice {

struct QuantRun {
  int8_t q[16];
  float scale;
  float offset;
};

inline constexpr size_t kI4ZeroAt = 4, kI4ValuesAt = 5;  // in a block

// Decodes one block of facts_of(format).block_weights weights into block_weights / 16 runs. Quantised formats
// only.
void unpack_block(WeightFormat format, const std::byte* block, QuantRun* runs);

// `count` weights of a row to f32; any format (kF8 without its scales); `count` is a multiple of the format's
// block.
void dequantize(WeightFormat format, const std::byte* bytes, int64_t count, float* out);

// The other way, for tests and tools: rounds a row to the nearest representable weights. F32, F16, BF16,
// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, I4_32, I4_64, F8 (scale 1) only (the K formats are only read).
void quantize(WeightFormat format, const float* weights, int64_t count, std::byte* out);

}  // namespace sluice
