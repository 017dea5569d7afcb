#include "kernels/quant_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace sluice {
namespace {

const uint8_t* u8(const std::byte* p) {
  return reinterpret_cast<const uint8_t*>(p);
}

float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}
uint32_t u32_at(const uint8_t* p) {
  uint32_t bits;
  std::memcpy(&bits, p, 4);
  return bits;
}

void set_scale(QuantRun* runs, int count, float scale, float offset) {
  for (int r = 0; r < count; ++r) {
    runs[r].scale = scale;
    runs[r].offset = offset;
  }
}

// Weight j of a 32-block with nibbles: the low nibbles of 16 bytes are weights 0-15, the high ones 16-31.
void unpack_nibbles(const uint8_t* qs, QuantRun* runs) {
  for (int j = 0; j < 16; ++j) {
    runs[0].q[j] = static_cast<int8_t>(qs[j] & 15);
    runs[1].q[j] = static_cast<int8_t>(qs[j] >> 4);
  }
}
// The fifth bits: bit j belongs to weight j.
void add_fifth_bits(uint32_t high, QuantRun* runs) {
  for (int j = 0; j < 16; ++j) {
    runs[0].q[j] = static_cast<int8_t>(runs[0].q[j] | ((high >> j) & 1) << 4);
    runs[1].q[j] = static_cast<int8_t>(runs[1].q[j] | ((high >> (j + 16)) & 1) << 4);
  }
}

// Q4_K and Q5_K: eight 6-bit scales and eight 6-bit minima in 12 bytes. The first four of each lie in the low
// six bits of bytes 0-3 and 4-7; the last four have their low nibbles in bytes 8-11 and their two high bits
// above the first ones.
struct ScaleMin {
  int scale, min;
};
ScaleMin scale_min(int j, const uint8_t* s) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4)};
}

// scales[16] (scale low nibble, min high nibble) | qs[64] two-bit | d f16 | dmin f16
void unpack_q2_k(const uint8_t* b, QuantRun* runs) {
  const uint8_t* qs = b + 16;
  const float d = half_at(b + 80), dmin = half_at(b + 82);
  for (int r = 0; r < 16; ++r) {
    const int half = r / 8, shift = 2 * (r % 8 / 2), first = half * 32 + (r % 2) * 16;
    for (int j = 0; j < 16; ++j) runs[r].q[j] = static_cast<int8_t>((qs[first + j] >> shift) & 3);
    set_scale(runs + r, 1, d * static_cast<float>(b[r] & 15), -dmin * static_cast<float>(b[r] >> 4));
  }
}

// hmask[32] third bits | qs[64] two-bit | scales[12] six-bit | d f16. A clear third bit subtracts 4.
void unpack_q3_k(const uint8_t* b, QuantRun* runs) {
  const uint8_t *hmask = b, *qs = b + 32, *s = b + 96;
  const float d = half_at(b + 108);
  for (int r = 0; r < 16; ++r) {
    const int low = r < 8 ? s[r] & 15 : s[r - 8] >> 4;
    const int scale = low | ((s[8 + r % 4] >> (2 * (r / 4))) & 3) << 4;
    const int half = r / 8, shift = 2 * (r % 8 / 2), place = (r % 2) * 16, bit = r / 2;
    for (int j = 0; j < 16; ++j) {
      const int low_bits = (qs[half * 32 + place + j] >> shift) & 3;
      runs[r].q[j] = static_cast<int8_t>(low_bits - (((hmask[place + j] >> bit) & 1) != 0 ? 0 : 4));
    }
    set_scale(runs + r, 1, d * static_cast<float>(scale - 32), 0);
  }
}

// d f16 | dmin f16 | scales[12] | [qh[32] for Q5_K] | qs[128]: 32 bytes hold the nibbles of 64 weights.
void unpack_q45_k(const uint8_t* b, bool five, QuantRun* runs) {
  const float d = half_at(b), dmin = half_at(b + 2);
  const uint8_t* qh = b + 16;
  const uint8_t* qs = b + (five ? 48 : 16);
  for (int group = 0; group < 8; ++group) {
    const auto [scale, min] = scale_min(group, b + 4);
    QuantRun* run = runs + group * 2;
    for (int j = 0; j < 32; ++j) {
      const uint8_t byte = qs[group / 2 * 32 + j];
      int q = group % 2 == 0 ? byte & 15 : byte >> 4;
      if (five) q |= ((qh[j] >> group) & 1) << 4;
      run[j / 16].q[j % 16] = static_cast<int8_t>(q);
    }
    set_scale(run, 2, d * static_cast<float>(scale), -dmin * static_cast<float>(min));
  }
}

// ql[128] low nibbles | qh[64] high two bits | scales[16] int8 | d f16. Half h covers weights 128 h …: byte
// ql[l] holds weights l and l + 64, ql[l + 32] holds l + 32 and l + 96; qh[l] holds the high bits of all
// four.
void unpack_q6_k(const uint8_t* b, QuantRun* runs) {
  const uint8_t *ql = b, *qh = b + 128;
  const auto* scales = reinterpret_cast<const int8_t*>(b + 192);
  const float d = half_at(b + 208);
  for (int r = 0; r < 16; ++r) {
    const int half = r / 8, quarter = r % 8 / 2, place = (r % 2) * 16;
    for (int j = 0; j < 16; ++j) {
      const int l = place + j;
      const uint8_t low = ql[half * 64 + (quarter % 2) * 32 + l];
      const int nibble = quarter < 2 ? low & 15 : low >> 4;
      runs[r].q[j] = static_cast<int8_t>((nibble | ((qh[half * 32 + l] >> (2 * quarter)) & 3) << 4) - 32);
    }
    set_scale(runs + r, 1, d * static_cast<float>(scales[r]), 0);
  }
}

// d f32 | zero u8 | qs[16] for each 32 weights. The zero is taken off at once: that is exact.
void unpack_i4(const uint8_t* b, int halves, QuantRun* runs) {
  float scale;
  std::memcpy(&scale, b, 4);
  for (int h = 0; h < halves; ++h) unpack_nibbles(b + kI4ValuesAt + 16 * h, runs + 2 * h);
  for (int r = 0; r < 2 * halves; ++r) {
    for (int8_t& q : runs[r].q) q = static_cast<int8_t>(q - b[kI4ZeroAt]);
  }
  set_scale(runs, 2 * halves, scale, 0);
}

}  // namespace

void unpack_block(WeightFormat format, const std::byte* block, QuantRun* runs) {
  const uint8_t* b = u8(block);
  switch (format) {
    case WeightFormat::kQ4_0:  // d f16 | qs[16]
      unpack_nibbles(b + 2, runs);
      set_scale(runs, 2, half_at(b), -8 * half_at(b));
      return;
    case WeightFormat::kQ4_1:  // d f16 | m f16 | qs[16]
      unpack_nibbles(b + 4, runs);
      set_scale(runs, 2, half_at(b), half_at(b + 2));
      return;
    case WeightFormat::kQ5_0:  // d f16 | qh[4] | qs[16]
      unpack_nibbles(b + 6, runs);
      add_fifth_bits(u32_at(b + 2), runs);
      set_scale(runs, 2, half_at(b), -16 * half_at(b));
      return;
    case WeightFormat::kQ5_1:  // d f16 | m f16 | qh[4] | qs[16]
      unpack_nibbles(b + 8, runs);
      add_fifth_bits(u32_at(b + 4), runs);
      set_scale(runs, 2, half_at(b), half_at(b + 2));
      return;
    case WeightFormat::kQ8_0:  // d f16 | qs[32] int8
      std::memcpy(runs[0].q, b + 2, 16);
      std::memcpy(runs[1].q, b + 18, 16);
      set_scale(runs, 2, half_at(b), 0);
      return;
    case WeightFormat::kQ2_K:
      return unpack_q2_k(b, runs);
    case WeightFormat::kQ3_K:
      return unpack_q3_k(b, runs);
    case WeightFormat::kQ4_K:
      return unpack_q45_k(b, false, runs);
    case WeightFormat::kQ5_K:
      return unpack_q45_k(b, true, runs);
    case WeightFormat::kQ6_K:
      return unpack_q6_k(b, runs);
    case WeightFormat::kI4_32:
      return unpack_i4(b, 1, runs);
    case WeightFormat::kI4_64:
      return unpack_i4(b, 2, runs);
    case WeightFormat::kF32:
    case WeightFormat::kF16:
    case WeightFormat::kBF16:
    case WeightFormat::kF8:
      break;
  }
  SLUICE_CHECK(!"a quantised format");
}

void dequantize(WeightFormat format, const std::byte* bytes, int64_t count, float* out) {
  const auto facts = facts_of(format);
  SLUICE_CHECK_EQ(count % facts.block_weights, 0);
  switch (format) {
    case WeightFormat::kF32:
      std::memcpy(out, bytes, static_cast<size_t>(count) * 4);
      return;
    case WeightFormat::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = half_at(u8(bytes) + 2 * i);
      return;
    case WeightFormat::kBF16:
      for (int64_t i = 0; i < count; ++i) {
        uint16_t bits;
        std::memcpy(&bits, bytes + 2 * i, 2);
        out[i] = bf16_to_f32(bits);
      }
      return;
    case WeightFormat::kF8:
      for (int64_t i = 0; i < count; ++i) out[i] = f8_to_f32(u8(bytes)[i]);
      return;
    default:
      break;
  }
  QuantRun runs[16];
  for (int64_t block = 0; block < count / facts.block_weights; ++block) {
    unpack_block(format, bytes + block * facts.block_bytes, runs);
    for (int r = 0; r < facts.block_weights / 16; ++r) {
      for (const int8_t q : runs[r].q) *out++ = runs[r].scale * static_cast<float>(q) + runs[r].offset;
    }
  }
}

namespace {

void store_half(std::byte* out, float value) {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(out, &bits, 2);
}

// `levels` unsigned steps over 32 weights; symmetric formats centre them on zero.
void quantize_block(const float* w, int bits, bool with_min, std::byte* out) {
  const int levels = 1 << bits;
  const auto [low, high] = std::minmax_element(w, w + 32);
  float scale, offset;
  if (with_min) {
    scale = (*high - *low) / static_cast<float>(levels - 1);
    offset = *low;
  } else {  // the weight of the largest magnitude becomes -levels / 2 exactly
    const float extreme = std::fabs(*low) > std::fabs(*high) ? *low : *high;
    scale = extreme / static_cast<float>(-levels / 2);
    offset = -scale * static_cast<float>(levels / 2);
  }
  const float inverse = scale != 0 ? 1 / scale : 0;
  store_half(out, scale);
  out += 2;
  if (with_min) {
    store_half(out, offset);
    out += 2;
  }
  uint8_t q[32];
  uint32_t fifth = 0;
  for (int j = 0; j < 32; ++j) {
    q[j] = static_cast<uint8_t>(
        std::clamp(static_cast<int>(std::lround((w[j] - offset) * inverse)), 0, levels - 1));
    if (bits == 5) fifth |= static_cast<uint32_t>(q[j] >> 4) << j;
  }
  if (bits == 5) {
    std::memcpy(out, &fifth, 4);
    out += 4;
  }
  for (int j = 0; j < 16; ++j) out[j] = static_cast<std::byte>((q[j] & 15) | (q[j + 16] & 15) << 4);
}

void quantize_i4(const float* w, int count, std::byte* out) {
  const auto [low, high] = std::minmax_element(w, w + count);
  const float least = std::min(*low, 0.0F), most = std::max(*high, 0.0F);
  const float scale =
      most > least ? f16_to_f32(f32_to_f16((most - least) / 15)) : 1;  // as checkpoints have it
  const int zero = static_cast<int>(std::lround(-least / scale));
  std::memcpy(out, &scale, 4);
  out[kI4ZeroAt] = static_cast<std::byte>(zero);
  const auto stored = [&](int j) {
    return std::clamp(static_cast<int>(std::lround(w[j] / scale)) + zero, 0, 15);
  };
  for (int j = 0; j < count / 2; ++j) {
    const int at = j / 16 * 32 + j % 16;
    out[kI4ValuesAt + static_cast<size_t>(j)] = static_cast<std::byte>(stored(at) | stored(at + 16) << 4);
  }
}

void quantize_q8_0(const float* w, std::byte* out) {
  float largest = 0;
  for (int j = 0; j < 32; ++j) largest = std::max(largest, std::fabs(w[j]));
  const float scale = largest / 127, inverse = scale != 0 ? 1 / scale : 0;
  store_half(out, scale);
  for (int j = 0; j < 32; ++j)
    out[2 + j] = static_cast<std::byte>(static_cast<int8_t>(std::lround(w[j] * inverse)));
}

}  // namespace

void quantize(WeightFormat format, const float* weights, int64_t count, std::byte* out) {
  const auto facts = facts_of(format);
  SLUICE_CHECK_EQ(count % facts.block_weights, 0);
  for (int64_t block = 0; block < count / facts.block_weights; ++block) {
    const float* w = weights + block * facts.block_weights;
    std::byte* to = out + block * facts.block_bytes;
    const uint16_t bf16 = f32_to_bf16(*w);
    switch (format) {
      case WeightFormat::kF32:
        std::memcpy(to, w, 4);
        break;
      case WeightFormat::kF16:
        store_half(to, *w);
        break;
      case WeightFormat::kBF16:
        std::memcpy(to, &bf16, 2);
        break;
      case WeightFormat::kQ4_0:
        quantize_block(w, 4, false, to);
        break;
      case WeightFormat::kQ4_1:
        quantize_block(w, 4, true, to);
        break;
      case WeightFormat::kQ5_0:
        quantize_block(w, 5, false, to);
        break;
      case WeightFormat::kQ5_1:
        quantize_block(w, 5, true, to);
        break;
      case WeightFormat::kQ8_0:
        quantize_q8_0(w, to);
        break;
      case WeightFormat::kI4_32:
      case WeightFormat::kI4_64:
        quantize_i4(w, facts.block_weights, to);
        break;
      case WeightFormat::kF8:
        for (int j = 0; j < facts.block_weights; ++j) to[j] = static_cast<std::byte>(f32_to_f8(w[j]));
        break;
      default:
        SLUICE_CHECK(!"a format that can be written");
    }
  }
}

}  // namespace sluice
