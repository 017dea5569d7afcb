// THE contract between models and devices: some eighteen coarse operations over ragged batches.
//
// Shapes use one alphabet: T tokens in the step, S sequences, R rows to sample, E model width, H query heads,
// K kv heads, D head size, F mlp width, V vocabulary, B tokens per block. Activations are
// `activation_dtype()` (f32 on the CPU).
//
// Promises of every backend:
//  - Row independence (of GPUs: where they were made deterministic): row t of every result depends on row t
//    of the inputs alone (for attention: on that token's own context), with the same sequence of
//    floating-point operations whatever the other rows, the split into chunks, the number of threads. So a
//    greedy answer under load equals the answer alone, bit for bit. Different instruction sets may differ in
//    the last bits.
//  - No allocation in an operation once it has run at its largest size; operations are issued by one thread
//    and complete in order; results may be read by the host after `synchronize`.
//  - Shapes are checked by CHECK: a wrong one is our bug. Only load-time calls return errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/collective.h"
#include "kernels/host_weight.h"
#include "kernels/paged_kv.h"
#include "kernels/tensor.h"

namespace sluice {

// Bytes on the device; freed with the object. Zeroed when made, aligned to 64 bytes at least.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() = 0;
  virtual size_t size() const = 0;
};

// A weight in the device's own packing. Knows nothing of models or files.
class Weight {
 public:
  virtual ~Weight() = default;
  int64_t rows() const { return rows_; }        // outputs
  int64_t columns() const { return columns_; }  // inputs
  virtual size_t bytes() const = 0;             // what one full pass reads

 protected:
  Weight(int64_t rows, int64_t columns) : rows_(rows), columns_(columns) {}

 private:
  int64_t rows_, columns_;
};

// What a step computes, flat. All pointers are host memory, valid until the step's results have been
// collected; a device backend copies them in `stage`. Sequence s owns tokens
// [query_start[s], query_start[s + 1]); its tokens are consecutive positions ending at
// context_lengths[s] - 1.
struct StepBatch {
  std::span<const int32_t> token_ids;        // [T]; below 0, ~r: the token of row r sampled last
  std::span<const int32_t> positions;        // [T]
  std::span<const int64_t> slots;            // [T] where each token's keys and values go
  std::span<const int32_t> query_start;      // [S + 1]
  std::span<const int32_t> context_lengths;  // [S] tokens in the cache after this step's are stored
  std::span<const int32_t> block_table;      // [S, block_table_stride]
  int64_t block_table_stride = 0;
  std::span<const int32_t> sample_rows;      // [R] token rows whose logits are wanted
  std::span<const int32_t> hidden_rows;      // [P] token rows whose final hidden states are wanted

  int64_t tokens() const { return static_cast<int64_t>(token_ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(context_lengths.size()); }
};

enum class RopeStyle : uint8_t {
  kHalf,         // pairs (i, i + D/2): Hugging Face files, GGUF of Qwen
  kInterleaved,  // pairs (2i, 2i + 1): GGUF of Llama
};

struct AttentionShape {
  int query_heads = 0;  // H; a multiple of kv_heads
  int kv_heads = 0;     // K
  int head_size = 0;    // D
  float scale = 0;      // on q.k, usually 1 / sqrt(D)
  int sliding_window = 0;  // > 0: a token sees itself and the sliding_window - 1 tokens before it
  bool operator==(const AttentionShape&) const = default;
  int qkv_columns() const { return (query_heads + 2 * kv_heads) * head_size; }
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

// How one row of logits becomes a token. Applied in vLLM's order: allowed mask and logit_bias, penalties,
// temperature, min_p, top_k, top_p, draw. temperature < 1e-5 means greedy: the lowest id among the largest
// logits.
struct SamplingRow {
  float temperature = 1.0F;
  int top_k = 0;        // <= 0: off
  float top_p = 1.0F;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;  // over prompt and output; > 0
  float presence_penalty = 0.0F;    // over output
  float frequency_penalty = 0.0F;   // over output, times the count
  uint64_t seed = 0;    // the draw is a pure function of (seed, draw_index) and the distribution
  uint64_t draw_index = 0;
  int logprobs = -1;    // -1: none; 0: of the chosen token; n: and of the n most likely. Of the raw logits.
  int32_t given = -1;   // >= 0: nothing is drawn; this token is the chosen one (the next of a prompt)
  std::span<const int32_t> prompt_tokens;                     // for repetition_penalty; else empty
  std::span<const int32_t> output_tokens;                     // for the penalties; else empty
  std::span<const std::pair<int32_t, float>> logit_bias;      // ids within [0, V)
  std::span<const int32_t> banned_tokens;                     // e.g. stop tokens before min_tokens
  std::span<const uint32_t> allowed_mask;                     // bit v of word v / 32; empty: all allowed
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;                      // when asked for
  int32_t rank = 0;                       // with SamplingRow::given: 1 + tokens with larger logits
  std::vector<TokenLogprob> top_logprobs;  // most likely first
};

struct DeviceFacts {
  std::string kind;        // "cpu", "cuda", "reference"
  std::string name;        // "AVX-512 VNNI BF16, 2 threads"
  size_t memory_bytes = 0;       // all of it
  size_t memory_free_bytes = 0;  // now
};

// What a device can do at most, measured.
struct DevicePeaks {
  double bytes_per_s = 0;       // read from and written to its memory
  double operations_per_s = 0;  // of bf16 products, two a product
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual DeviceFacts facts() const = 0;
  virtual DType activation_dtype() const = 0;
  // How a cache that this backend reads must lie.
  virtual KvOrder kv_order() const { return KvOrder::kPacked; }
  virtual std::vector<DType> kv_types() const { return {DType::kF32, DType::kBF16, DType::kI8}; }
  // With 2, a step may be issued before `finish_sample` of the one before, and name its tokens by rows.
  virtual int steps_in_flight() const { return 1; }
  // For benchmarks; takes a second. Zeros: whoever asks has other means.
  virtual DevicePeaks measure_peaks() { return {}; }
  virtual int max_logprobs() const { return INT32_MAX; }  // SamplingRow::logprobs may be so many

  // ---- load time ----
  virtual Result<std::unique_ptr<Buffer>> allocate(size_t bytes) = 0;
  virtual void copy_to_device(std::byte* to, const void* from, size_t bytes) = 0;
  virtual void copy_to_host(void* to, const std::byte* from, size_t bytes) = 0;
  // Packs a matrix for `matmul` (and `embed`). `parts` are stacked along the rows, all with the same columns:
  // Q, K and V, or gate and up, become one matrix. Formats may differ, the order of inputs may not. The bytes
  // may go away afterwards.
  virtual Result<std::unique_ptr<Weight>> load_weight(std::span<const HostWeight> parts) = 0;

  // ---- a step ----
  // Makes the batch's arrays readable by the device; the ops below take what this returns.
  virtual const StepBatch& stage(const StepBatch& batch) = 0;
  // Stages the batch and has `forward` issue the step's operations on it. What is issued may depend on the
  // batch's shape and addresses alone: a device may add sequences that nobody reads, up to `most_sequences`,
  // and record what was issued, to run it again when the shape comes again.
  using Forward = std::function<void(const StepBatch& staged)>;
  virtual void run(const StepBatch& batch, int /*most_sequences*/, const Forward& forward) {
    forward(stage(batch));
  }

  // out[t] = table row token_ids[t].                               table [V, E], out [T, E]
  virtual void embed(const Weight& table, std::span<const int32_t> token_ids, TensorView out) = 0;
  // out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * scale               x, out [T, E], scale [E] f32
  virtual void rms_norm(TensorView x, const float* scale, float eps, TensorView out) = 0;
  // residual[t] += delta[t]; out[t] = rms_norm(residual[t])        all [T, E]
  virtual void add_rms_norm(TensorView residual, TensorView delta, const float* scale, float eps,
                            TensorView out) = 0;
  // In place, over each of `heads` runs of D columns.              x [T, heads * D], scale [D] f32
  virtual void head_norm(TensorView x, int heads, int head_size, const float* scale, float eps) = 0;
  // out[t][o] = sum_i w[o][i] * x[t][i] + bias[o]                  x [T, in], out [T, out],
  //                                                                bias [out] f32 or null
  virtual void matmul(const Weight& w, TensorView x, const float* bias, TensorView out) = 0;
  // cos and sin of positions[t] * inverse_frequencies[i], times attention_factor: out [T, D] = D/2 cosines,
  // D/2 sines, f32.
  virtual void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                           float attention_factor, TensorView out) = 0;
  // Rotates q and k in place, then writes k and v of each token into its slot.
  //                                                                qkv [T, (H + 2K) * D], angles [T, D]
  virtual void rope_store_kv(const StepBatch& batch, const AttentionShape& shape, RopeStyle style,
                             TensorView angles, TensorView qkv, const KvView& cache) = 0;
  // out[t] = softmax(scale * q[t] . K) V over the token's own context, causal, read from the cache.
  //                                                                out [T, H * D]
  virtual void attention(const StepBatch& batch, const AttentionShape& shape, TensorView qkv,
                         const KvView& cache, TensorView out) = 0;
  // out[t] = activation(gate[t]) * up[t]                           gate_up [T, 2F] (gate first), out [T, F]
  virtual void gated_activation(Activation kind, TensorView gate_up, TensorView out) = 0;
  // out[r] = x[rows[r]]                                            x [T, E], out [R, E], also as f32
  virtual void gather_rows(TensorView x, std::span<const int32_t> rows, TensorView out) = 0;
  // Draws one token from each row of logits [R, V] f32 as `rows` say; R may be 0. Logits are scratch
  // afterwards. `out` is written by the time the `finish_sample` that belongs to this call returns, and must
  // stay until then.
  virtual void sample(TensorView logits, std::span<const SamplingRow> rows, std::span<SampledToken> out) = 0;
  // Waits for the oldest `sample` not finished yet, and so for its step.
  virtual void finish_sample() {}

  virtual void synchronize() = 0;

  // ---- with other ranks ----
  // This device is one of several that compute a model together; once, before anything is loaded. Its
  // weights, heads and cache are then those of its rank (models/sharding.h), activations and logits whole.
  void join(std::unique_ptr<Collective> ranks) { ranks_ = std::move(ranks); }
  DeviceRank rank() const { return ranks_ == nullptr ? DeviceRank{} : ranks_->rank(); }
  // As Collective has them; nothing to do for one rank. A lost rank stops the process.
  void all_reduce(TensorView x) {
    if (ranks_ != nullptr) go_on(ranks_->all_reduce(x));
  }
  void all_gather(TensorView x, TensorView out) {
    if (ranks_ != nullptr) go_on(ranks_->all_gather(x, out));
  }

 protected:
  // Before what the operations stand on goes.
  void leave() { ranks_.reset(); }

 private:
  static void go_on(const Status& status) {
    if (!status.ok()) stop_process(status.error().message);
  }

  std::unique_ptr<Collective> ranks_;
};

}  // namespace sluice
