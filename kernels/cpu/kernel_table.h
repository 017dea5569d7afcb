// The inner loops of the CPU backend as plain functions over raw pointers, one table of them per instruction
// set. The files isa_*.cc instantiate the same templates with their own compiler flags; everything else in
// this folder is compiled for the baseline and calls through the table. This header is therefore all that
// both sides share: plain structs, no inline functions (a weak symbol compiled for AVX-512 must never be
// linked into baseline code). Shapes are checked by the caller. Any thread; scratch memory arrives as an
// argument.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::cpu {

// ---- Packed weights. A panel is 16 output columns wide; along the inputs it is a chain of groups of 32.
// ---- Nibble group: 256 bytes, then 16 f16 scales per run, then (with minima) 16 f16 minima per run. Byte 64
// z + 4 c + b holds
//   inputs 4 z + b (low nibble) and 16 + 4 z + b (high nibble) of column c.
// Byte group: 512 bytes, byte 64 z + 4 c + b holds input 4 z + b of column c; then scales and minima as
// above. A run is 32 inputs, or 16 (two runs per group, for the K formats with 16-wide scales). weight =
// scale * (stored - zero_point) (+ minimum); zero_point is 8 for nibbles, 128 for bytes, 0 with minima. Dense
// panels: f32 and f16 [inputs][16]; bf16 [inputs / 2][16][2]. f8: for each
// 128 inputs 16 f32 scales, times 256, then bytes, byte 32 z + 2 c + b holding input 2 z + b of column c.
enum class PanelFormat : uint8_t {
  kNibble,
  kNibbleMin,
  kByte,
  kByteMin,
  kNibble16,
  kNibbleMin16,
  kByte16,
  kF32,
  kF16,
  kBF16,
  kF8,
};
constexpr int kPanelFormats = 11;
constexpr int kPanelColumns = 16;
constexpr int kGroupInputs = 32;
constexpr int kF8ScaleInputs = 128;

// What the weights need to know of one run of int8 activations besides the values.
struct ActivationRun {
  float scale;
  float scaled_sum;       // scale * sum of the values
  int32_t minus_8_sum;    // -8 * sum of the values: where an accumulator of nibbles starts
  int32_t minus_128_sum;  // the same for bytes
};

// Some rows of activations times some neighbouring panels.
struct MatmulArgs {
  const uint8_t* panels;
  int64_t panel_bytes;  // from one panel to the next
  int panel_count;
  int64_t inputs;             // a multiple of 32 for quantised panels, of 2 when x is bf16
  const void* x;              // int8 values, f32, or bf16 pairs, as the panel's format asks
  int64_t x_stride;           // bytes from one row to the next
  const ActivationRun* runs;  // quantised panels only; of the run length of the panel's format
  int64_t run_stride;         // runs from one row to the next
  int64_t rows;
  const float* bias;  // null or [columns]
  float* out;
  int64_t out_stride;  // floats
  int64_t columns;     // of the output that these panels hold, <= 16 * panel_count
};

// One layer's cache as the attention loop walks it.
struct AttendArgs {
  const std::byte* keys;
  const std::byte* values;
  int64_t block_bytes;    // from one block to the next
  int64_t page_offset;    // of this kv head within a block
  const int32_t* blocks;  // this sequence's block table
  int block_tokens;       // B
  int head_size;          // D
  // The rows: (query, head of the group) pairs of one sequence and kv head, numbered query * group + head.
  const float* q;    // the group's first head of the sequence's first token of this step
  int64_t q_stride;  // floats from one token to the next
  int group;         // query heads per kv head
  int64_t first_row, row_count;
  int64_t first_position;  // of the sequence's first token of this step
  int64_t window;          // 0: none
  float scale;
  // The part of the context: [split_begin, split_end), multiples of kSplitTokens unless the context ends
  // before.
  int64_t split_begin, split_end;
  float* scratch;  // attend_scratch_floats(D)
  // Results per row: D weighted sums (stride partial_stride), largest score, sum of weights.
  float* partial;
  int64_t partial_stride;
  float* largest;
  float* total;
};

// Context is walked in tiles of 64 tokens from position 0, and in splits of 256; each split's sum is complete
// in itself and splits merge in ascending order. Both are properties of the position alone, so a token's
// result has the same bits in a prefill, a chunk of one, or a decode step, and long contexts can be cut over
// threads.
constexpr int kTileTokens = 64;
constexpr int kSplitTokens = 256;
constexpr int kAttendRows = 48;  // rows that one call may hold

// 16 floats of slack per row let vectors overhang.
constexpr int64_t attend_scratch_floats(int64_t head_size) {
  return kAttendRows * (head_size + 16) + 16 * kTileTokens;
}

enum class CacheType : uint8_t { kF32, kF16, kBF16, kI8 };
constexpr int kCacheTypes = 4;

struct StoreKvArgs {
  const float* key;    // [D], already rotated
  const float* value;  // [D]
  std::byte* key_page;
  std::byte* value_page;
  int block_tokens;
  int head_size;
  int token;  // its place within the block
};

struct KernelTable {
  const char* name;
  bool bf16_dot;  // bf16 panels want bf16 activations

  void (*matmul[kPanelFormats])(const MatmulArgs&);
  // `inputs` values of one row to int8 in runs; the tail up to a multiple of 32 becomes zero. runs16 may be
  // null.
  void (*quantize_row)(const float* x, int64_t inputs, int8_t* values, ActivationRun* runs32,
                       ActivationRun* runs16);
  void (*round_row)(const float* x, int64_t inputs, uint16_t* out);  // to bf16; odd lengths get a zero

  // out may be x. residual: when delta is not null, residual += delta first and x is the residual.
  void (*rms_norm)(const float* x, int64_t n, const float* scale, float eps, float* out);
  void (*add)(float* to, const float* from, int64_t n);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*gelu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // Rotates `heads` neighbouring heads in place; cosines and sines are [D] each, as expand_angles lays them
  // out.
  void (*rotate_half)(float* x, int heads, int head_size, const float* angles);
  void (*rotate_interleaved)(float* x, int heads, int head_size, const float* angles);
  void (*store_kv[kCacheTypes])(const StoreKvArgs&);

  void (*attend[kCacheTypes])(const AttendArgs&);
  // Folds split `from` into `into`: sums [D], largest and total of one row.
  void (*merge)(float* into, float* into_largest, float* into_total, const float* from, float from_largest,
                float from_total, int head_size);
  void (*finish)(const float* sums, float total, int head_size, float* out);

  float (*largest)(const float* x, int64_t n);
  // The lowest index of the largest value.
  int64_t (*argmax)(const float* x, int64_t n);
  // out[i] = exp((x[i] - largest) * inverse_temperature); returns the sum.
  double (*exp_sum)(const float* x, int64_t n, float largest, float inverse_temperature, float* out);
  // The indices of values >= threshold, ascending; returns how many. `out` has room for n.
  int64_t (*collect_at_least)(const float* x, int64_t n, float threshold, int32_t* out);
};

// Null when the binary was built without it.
const KernelTable* avx2_kernels();
const KernelTable* avx2_vnni_kernels();
const KernelTable* avx512_kernels();
const KernelTable* avx512_vnni_kernels();
const KernelTable* avx512_bf16_kernels();

}  // namespace sluice::cpu
