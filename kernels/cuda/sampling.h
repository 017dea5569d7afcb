// Launchers of sampling: rows of logits to tokens, all on the device, by the rules of kernels/backend.h
// (SamplingRow) and in the order of kernels/reference/sample_row.h. The ids stay on the device, where the
// next step reads its input tokens from them.
//
// Rows come as PackedSampling (sampling_rows.h) wrote them. A result depends on its row alone, bit for bit,
// whatever stands beside it: what threads add up together are integers.
//
// Bytes read per row, of V logits: 4 V where the row is greedy; a drawn one goes through its logits three
// times (4 V from memory, then 8 V from the L2 cache where the rows fit into it), 4 V more are written where
// the row has a mask, bias or penalties. Lists of tokens for penalties are read once for each 8192 logits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"

namespace sluice::cuda {

inline constexpr int kMaxTopLogprobs = 20;             // SamplingRow::logprobs on this device
inline constexpr int kMaxVocabulary = 1 << 19;         // V
inline constexpr int kMaxSampledRows = (1 << 16) - 1;  // R

// SamplingRow for the device. Lists lie in the words (of 4 bytes) of the pack that begins with the rows.
struct DeviceSamplingRow {
  double uniform = 0;  // the draw: random_uniform(seed, draw_index)
  float temperature = 1, top_p = 1, min_p = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int32_t top_k = 0, logprobs = -1, given = -1;
  int32_t output_count = 0, prompt_count = 0, banned_count = 0, bias_count = 0;
  uint32_t penalised_word = 0;  // output tokens, then the prompt's; a multiple of four
  uint32_t banned_word = 0;
  uint32_t bias_word = 0;  // pairs (id, bias), ids unlike
  uint32_t mask_word = 0;  // 0: all tokens are allowed
  int32_t listed = -1;     // >= 0: where the raw logits of penalised, then biased tokens are kept
};

struct SampledRow {
  int32_t id = 0;
  float logprob = 0;
  int32_t rank = 0;
  int32_t top_count = 0;
  TokenLogprob top[kMaxTopLogprobs];
};

struct Sampling {
  float* logits = nullptr;  // [rows, vocabulary], rows `stride` floats apart; scratch afterwards
  int64_t stride = 0;       // a multiple of four: loads of 16 bytes; else of 4
  int rows = 0;
  int vocabulary = 0;
  const std::byte* packed = nullptr;  // what PackedSampling::write wrote, 16-byte aligned
  bool draws = true;                  // PackedSampling::draws(); false: fewer launches
  std::byte* scratch = nullptr;       // sampling_scratch_bytes, 256-byte aligned, any content
  int32_t* ids = nullptr;             // [rows]
  SampledRow* sampled = nullptr;      // [rows]
};

// `listed`: PackedSampling::listed(). About 28 KB a row at V = 128k.
size_t sampling_scratch_bytes(int rows, int vocabulary, size_t listed);
// Four launches, or two where nothing is drawn.
void sample(const Sampling& sampling, Stream stream);

}  // namespace sluice::cuda
