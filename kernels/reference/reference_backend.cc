#include "kernels/reference/reference_backend.h"

#include <cstring>

#include "kernels/reference/reference_ops.h"
#include "kernels/reference/sample_row.h"

namespace sluice {
namespace {

class HostBuffer : public Buffer {
 public:
  explicit HostBuffer(size_t bytes) : memory_((bytes + 63) / 64), size_(bytes) {}
  std::byte* data() override { return memory_.data()->bytes; }
  size_t size() const override { return size_; }

 private:
  struct alignas(64) Line {
    std::byte bytes[64] = {};
  };
  std::vector<Line> memory_;
  size_t size_;
};

class DenseWeight : public Weight {
 public:
  DenseWeight(int64_t rows, int64_t columns)
      : Weight(rows, columns), values(static_cast<size_t>(rows * columns)) {}
  size_t bytes() const override { return values.size() * sizeof(float); }
  const float* row(int64_t r) const { return values.data() + r * columns(); }
  std::vector<float> values;
};

const DenseWeight& dense(const Weight& w) {
  return static_cast<const DenseWeight&>(w);
}

class ReferenceBackend : public Backend {
 public:
  DeviceFacts facts() const override { return {"reference", "naive fp32, 1 thread", 0, 0}; }
  DType activation_dtype() const override { return DType::kF32; }

  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override {
    return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(std::max<size_t>(bytes, 64)));
  }
  void copy_to_device(std::byte* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void copy_to_host(void* to, const std::byte* from, size_t bytes) override { std::memcpy(to, from, bytes); }

  Result<std::unique_ptr<Weight>> load_weight(std::span<const HostWeight> parts) override {
    int64_t rows = 0;
    for (const auto& part : parts) rows += part.rows;
    SLUICE_ASSIGN(const auto order, common_input_order(parts));
    auto weight = std::make_unique<DenseWeight>(rows, parts[0].columns);
    float* out = weight->values.data();
    std::vector<float> sorted(order.size());
    for (const auto& part : parts) {
      SLUICE_CHECK_EQ(part.columns, weight->columns());
      for (int64_t r = 0; r < part.rows; ++r, out += part.columns) {
        dequantize_row(part, r, order.empty() ? out : sorted.data());
        for (size_t c = 0; c < order.size(); ++c) out[order[c]] = sorted[c];
      }
    }
    return std::unique_ptr<Weight>(std::move(weight));
  }

  int steps_in_flight() const override { return 2; }
  const StepBatch& stage(const StepBatch& batch) override {
    staged_ = batch;
    token_ids_.assign(batch.token_ids.begin(), batch.token_ids.end());
    for (int32_t& id : token_ids_) id = id < 0 ? latest_.at(static_cast<size_t>(~id)) : id;
    staged_.token_ids = token_ids_;
    return staged_;
  }

  void embed(const Weight& table, std::span<const int32_t> token_ids, TensorView out) override {
    for (size_t t = 0; t < token_ids.size(); ++t) {
      SLUICE_CHECK(token_ids[t] >= 0 && token_ids[t] < table.rows());
      std::memcpy(out.f32(static_cast<int64_t>(t)), dense(table).row(token_ids[t]),
                  static_cast<size_t>(out.columns) * 4);
    }
  }
  void rms_norm(TensorView x, const float* scale, float eps, TensorView out) override {
    reference::rms_norm(x, scale, eps, out);
  }
  void add_rms_norm(TensorView residual, TensorView delta, const float* scale, float eps,
                    TensorView out) override {
    for (int64_t t = 0; t < residual.rows; ++t) {
      for (int64_t i = 0; i < residual.columns; ++i) residual.f32(t)[i] += delta.f32(t)[i];
    }
    reference::rms_norm(residual, scale, eps, out);
  }
  void head_norm(TensorView x, int heads, int head_size, const float* scale, float eps) override {
    for (int h = 0; h < heads; ++h) {
      const TensorView head = x.slice(static_cast<int64_t>(h) * head_size, head_size);
      reference::rms_norm(head, scale, eps, head);
    }
  }
  void matmul(const Weight& w, TensorView x, const float* bias, TensorView out) override {
    SLUICE_CHECK_EQ(x.columns, w.columns());
    SLUICE_CHECK_EQ(out.columns, w.rows());
    reference::matmul(dense(w).row(0), w.rows(), w.columns(), x, bias, out);
  }
  void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                   float attention_factor, TensorView out) override {
    reference::rope_angles(positions, inverse_frequencies, attention_factor, out);
  }
  void rope_store_kv(const StepBatch& batch, const AttentionShape& shape, RopeStyle style, TensorView angles,
                     TensorView qkv, const KvView& cache) override {
    for (int64_t t = 0; t < batch.tokens(); ++t) {
      float* heads = qkv.f32(t);
      for (int h = 0; h < shape.query_heads + shape.kv_heads; ++h) {
        reference::rotate(heads + static_cast<int64_t>(h) * shape.head_size, shape.head_size, style,
                          angles.f32(t));
      }
      const float* keys = heads + static_cast<int64_t>(shape.query_heads) * shape.head_size;
      const float* values = keys + static_cast<int64_t>(shape.kv_heads) * shape.head_size;
      for (int h = 0; h < shape.kv_heads; ++h) {
        const int64_t slot = batch.slots[static_cast<size_t>(t)];
        reference::store_key(cache, slot, h, keys + static_cast<int64_t>(h) * shape.head_size);
        reference::store_value(cache, slot, h, values + static_cast<int64_t>(h) * shape.head_size);
      }
    }
  }
  void attention(const StepBatch& batch, const AttentionShape& shape, TensorView qkv, const KvView& cache,
                 TensorView out) override {
    reference::attention(batch, shape, qkv, cache, out);
  }
  void gated_activation(Activation kind, TensorView gate_up, TensorView out) override {
    reference::gated_activation(kind, gate_up, out);
  }
  void gather_rows(TensorView x, std::span<const int32_t> rows, TensorView out) override {
    for (size_t r = 0; r < rows.size(); ++r) {
      std::memcpy(out.f32(static_cast<int64_t>(r)), x.f32(rows[r]), static_cast<size_t>(x.columns) * 4);
    }
  }
  void sample(TensorView logits, std::span<const SamplingRow> rows, std::span<SampledToken> out) override {
    latest_.clear();
    for (size_t r = 0; r < rows.size(); ++r) {
      out[r] = reference::sample_row(
          {logits.f32(static_cast<int64_t>(r)), static_cast<size_t>(logits.columns)}, rows[r]);
      latest_.push_back(out[r].id);
    }
  }
  void synchronize() override {}

 private:
  StepBatch staged_;
  std::vector<int32_t> token_ids_, latest_;
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace sluice
