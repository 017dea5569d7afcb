#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/arena.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/sampler.h"
#include "kernels/cpu/thread_pool.h"

namespace sluice {
namespace cpu {
namespace {

// Values under which an operation runs in the calling thread: waking the others costs about what 8,000 values
// do.
constexpr int64_t kInlineValues = 16 << 10;
constexpr int kLargestHead = 1024;

class HostBuffer : public Buffer {
 public:
  HostBuffer(std::shared_ptr<Mapping> mapping, size_t size) : mapping_(std::move(mapping)), size_(size) {}
  std::byte* data() override { return mapping_->data(); }
  size_t size() const override { return size_; }

 private:
  std::shared_ptr<Mapping> mapping_;
  size_t size_;
};

const PackedWeight& packed(const Weight& w) {
  return static_cast<const PackedWeight&>(w);
}

class CpuBackend : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, int threads)
      : kernels_(kernels),
        pool_(threads),
        matmul_(kernels, pool_),
        attention_(kernels, pool_),
        samplers_(static_cast<size_t>(threads), RowSampler(kernels)) {}

  DeviceFacts facts() const override {
    const MemoryFacts memory = memory_facts();
    const int threads = pool_.threads();
    return {
        "cpu",
        std::string(kernels_.name) + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads"),
        memory.total_bytes, memory.free_bytes};
  }
  DType activation_dtype() const override { return DType::kF32; }

  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override {
    const size_t free_bytes = memory_facts().free_bytes;
    std::shared_ptr<Mapping> mapping =
        bytes <= free_bytes ? Mapping::make(std::max<size_t>(bytes, 64)) : nullptr;
    if (mapping == nullptr) {
      return Error{ErrorCode::kOutOfMemory, "A buffer of " + std::to_string(bytes >> 20) +
                                                " MB does not fit: " + std::to_string(free_bytes >> 20) +
                                                " MB of memory are free."};
    }
    return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(std::move(mapping), bytes));
  }
  void copy_to_device(std::byte* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void copy_to_host(void* to, const std::byte* from, size_t bytes) override { std::memcpy(to, from, bytes); }

  Result<std::unique_ptr<Weight>> load_weight(std::span<const HostWeight> parts) override {
    return pack_weight(parts, arena_, pool_);
  }

  const StepBatch& stage(const StepBatch& batch) override { return batch; }

  void embed(const Weight& table, std::span<const int32_t> token_ids, TensorView out) override {
    SLUICE_CHECK_EQ(static_cast<int64_t>(token_ids.size()), out.rows);
    SLUICE_CHECK_EQ(out.columns, table.columns());
    each_row(out.rows, out.columns * 8,
             [&](int64_t t) { packed(table).read_row(token_ids[static_cast<size_t>(t)], out.f32(t)); });
  }

  void rms_norm(TensorView x, const float* scale, float eps, TensorView out) override {
    SLUICE_CHECK_EQ(x.rows, out.rows);
    SLUICE_CHECK_EQ(x.columns, out.columns);
    each_row(x.rows, x.columns,
             [&](int64_t t) { kernels_.rms_norm(x.f32(t), x.columns, scale, eps, out.f32(t)); });
  }

  void add_rms_norm(TensorView residual, TensorView delta, const float* scale, float eps,
                    TensorView out) override {
    SLUICE_CHECK_EQ(residual.rows, out.rows);
    SLUICE_CHECK_EQ(residual.rows, delta.rows);
    SLUICE_CHECK_EQ(residual.columns, out.columns);
    SLUICE_CHECK_EQ(residual.columns, delta.columns);
    each_row(residual.rows, residual.columns * 2, [&](int64_t t) {
      kernels_.add(residual.f32(t), delta.f32(t), residual.columns);
      kernels_.rms_norm(residual.f32(t), residual.columns, scale, eps, out.f32(t));
    });
  }

  void head_norm(TensorView x, int heads, int head_size, const float* scale, float eps) override {
    SLUICE_CHECK_EQ(x.columns, static_cast<int64_t>(heads) * head_size);
    each_row(x.rows, x.columns, [&](int64_t t) {
      for (int h = 0; h < heads; ++h) {
        float* head = x.f32(t) + static_cast<int64_t>(h) * head_size;
        kernels_.rms_norm(head, head_size, scale, eps, head);
      }
    });
  }

  void matmul(const Weight& w, TensorView x, const float* bias, TensorView out) override {
    matmul_.run(packed(w), x, bias, out);
  }

  void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                   float attention_factor, TensorView out) override {
    const auto half = static_cast<int64_t>(inverse_frequencies.size());
    SLUICE_CHECK_EQ(out.columns, 2 * half);
    SLUICE_CHECK_EQ(out.rows, static_cast<int64_t>(positions.size()));
    each_row(out.rows, half * 64, [&](int64_t t) {
      float* cosines = out.f32(t);
      for (int64_t i = 0; i < half;
           ++i) {  // in double: a float angle of position 30,000 is off by a thousandth
        const double angle = static_cast<double>(positions[static_cast<size_t>(t)]) *
                             inverse_frequencies[static_cast<size_t>(i)];
        cosines[i] = static_cast<float>(std::cos(angle)) * attention_factor;
        cosines[half + i] = static_cast<float>(std::sin(angle)) * attention_factor;
      }
    });
  }

  void rope_store_kv(const StepBatch& batch, const AttentionShape& shape, RopeStyle style, TensorView angles,
                     TensorView qkv, const KvView& cache) override {
    SLUICE_CHECK_EQ(qkv.columns, shape.qkv_columns());
    SLUICE_CHECK_EQ(angles.columns, shape.head_size);
    SLUICE_CHECK_EQ(cache.layout.head_size, shape.head_size);
    SLUICE_CHECK_EQ(cache.layout.kv_heads, shape.kv_heads);
    SLUICE_CHECK_LE(shape.head_size, kLargestHead);
    SLUICE_CHECK_EQ(shape.head_size % cache.layout.packed(), 0);
    SLUICE_CHECK_EQ(shape.head_size % 2, 0);
    const auto rotate = style == RopeStyle::kHalf ? kernels_.rotate_half : kernels_.rotate_interleaved;
    const auto store = kernels_.store_kv[static_cast<int>(cache_type(cache.layout.dtype))];
    const int block_tokens = cache.layout.block_tokens, head_size = shape.head_size;
    each_row(batch.tokens(), qkv.columns * 2, [&](int64_t t) {
      float* heads = qkv.f32(t);
      rotate(heads, shape.query_heads + shape.kv_heads, head_size, angles.f32(t));
      const int64_t slot = batch.slots[static_cast<size_t>(t)], block = slot / block_tokens;
      SLUICE_CHECK(slot >= 0 && block < cache.block_count);
      const float* keys = heads + static_cast<int64_t>(shape.query_heads) * head_size;
      const float* values = keys + static_cast<int64_t>(shape.kv_heads) * head_size;
      for (int h = 0; h < shape.kv_heads; ++h) {
        store({keys + static_cast<int64_t>(h) * head_size, values + static_cast<int64_t>(h) * head_size,
               cache.key_page(block, h), cache.value_page(block, h), block_tokens, head_size,
               static_cast<int>(slot % block_tokens)});
      }
    });
  }

  void attention(const StepBatch& batch, const AttentionShape& shape, TensorView qkv, const KvView& cache,
                 TensorView out) override {
    SLUICE_CHECK_EQ(shape.query_heads % shape.kv_heads, 0);
    SLUICE_CHECK_EQ(out.columns, static_cast<int64_t>(shape.query_heads) * shape.head_size);
    SLUICE_CHECK_EQ(cache.layout.head_size, shape.head_size);
    SLUICE_CHECK_EQ(cache.layout.block_tokens % 16, 0);
    SLUICE_CHECK_LE(shape.head_size, kLargestHead);
    attention_.run(batch, shape, qkv, cache, out);
  }

  void gated_activation(Activation kind, TensorView gate_up, TensorView out) override {
    SLUICE_CHECK_EQ(gate_up.columns, 2 * out.columns);
    SLUICE_CHECK_EQ(gate_up.rows, out.rows);
    const auto activate = kind == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
    each_row(out.rows, out.columns * 4, [&](int64_t t) {
      activate(gate_up.f32(t), gate_up.f32(t) + out.columns, out.columns, out.f32(t));
    });
  }

  void gather_rows(TensorView x, std::span<const int32_t> rows, TensorView out) override {
    SLUICE_CHECK_EQ(static_cast<int64_t>(rows.size()), out.rows);
    SLUICE_CHECK_EQ(x.columns, out.columns);
    for (size_t r = 0; r < rows.size(); ++r) {
      SLUICE_CHECK(rows[r] >= 0 && rows[r] < x.rows);
      std::memcpy(out.f32(static_cast<int64_t>(r)), x.f32(rows[r]),
                  static_cast<size_t>(x.columns) * sizeof(float));
    }
  }

  void sample(TensorView logits, std::span<const SamplingRow> rows, std::span<SampledToken> out) override {
    SLUICE_CHECK_EQ(static_cast<int64_t>(rows.size()), logits.rows);
    SLUICE_CHECK_EQ(rows.size(), out.size());
    const auto count = static_cast<int>(rows.size());
    if (count == 0) return;
    pool_.run(count, [&](int r, int thread) {
      const auto at = static_cast<size_t>(r);
      samplers_[static_cast<size_t>(thread)].sample({logits.f32(r), static_cast<size_t>(logits.columns)},
                                                    rows[at], out[at]);
    });
  }

  void synchronize() override {}

 private:
  // Calls body(t) for every row, over the threads when there is enough to do.
  template <class Body>
  void each_row(int64_t rows, int64_t values_per_row, Body&& body) {
    const int64_t chunks = rows * values_per_row < kInlineValues
                               ? 1
                               : std::min<int64_t>(rows, static_cast<int64_t>(pool_.threads()) * 4);
    if (rows == 0) return;
    pool_.run(static_cast<int>(chunks), [&](int chunk, int) {
      for (int64_t t = rows * chunk / chunks; t < rows * (chunk + 1) / chunks; ++t) body(t);
    });
  }

  const KernelTable& kernels_;
  ThreadPool pool_;
  Arena arena_;
  MatmulRunner matmul_;
  AttentionRunner attention_;
  std::vector<RowSampler> samplers_;
};

}  // namespace
}  // namespace cpu

Result<std::unique_ptr<Backend>> make_cpu_backend(int threads, const std::string& isa) {
  constexpr int kMostThreads = 1024;
  if (threads < 0 || threads > kMostThreads) {
    return invalid_argument("threads", "threads must lie between 0 (one per core) and " +
                                           std::to_string(kMostThreads) + ", not " + std::to_string(threads) +
                                           ".");
  }
  SLUICE_ASSIGN(const cpu::KernelTable* kernels, cpu::choose_kernels(isa));
  return std::unique_ptr<Backend>(
      std::make_unique<cpu::CpuBackend>(*kernels, threads > 0 ? threads : cpu::usable_cores()));
}

std::vector<std::string> cpu_isas() {
  return cpu::runnable_isas();
}

}  // namespace sluice
