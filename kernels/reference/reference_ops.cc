#include "kernels/reference/reference_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace sluice::reference {

void rms_norm(TensorView x, const float* scale, float eps, TensorView out) {
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* in = x.f32(t);
    double squares = 0;
    for (int64_t i = 0; i < x.columns; ++i) squares += static_cast<double>(in[i]) * in[i];
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(x.columns) + eps);
    for (int64_t i = 0; i < x.columns; ++i) out.f32(t)[i] = static_cast<float>(in[i] * inverse * scale[i]);
  }
}

void matmul(const float* weights, int64_t rows, int64_t columns, TensorView x, const float* bias,
            TensorView out) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t o = 0; o < rows; ++o) {
      double sum = bias != nullptr ? bias[o] : 0;
      for (int64_t i = 0; i < columns; ++i)
        sum += static_cast<double>(weights[o * columns + i]) * x.f32(t)[i];
      out.f32(t)[o] = static_cast<float>(sum);
    }
  }
}

void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                 float attention_factor, TensorView out) {
  const auto half = static_cast<int64_t>(inverse_frequencies.size());
  for (int64_t t = 0; t < out.rows; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(positions[static_cast<size_t>(t)]) *
                           inverse_frequencies[static_cast<size_t>(i)];
      out.f32(t)[i] = static_cast<float>(std::cos(angle)) * attention_factor;
      out.f32(t)[half + i] = static_cast<float>(std::sin(angle)) * attention_factor;
    }
  }
}

// RoFormer (https://arxiv.org/abs/2104.09864): each pair of values is turned by its own angle.
void rotate(float* head, int head_size, RopeStyle style, const float* angles) {
  const int half = head_size / 2;
  for (int i = 0; i < half; ++i) {
    float& a = style == RopeStyle::kHalf ? head[i] : head[2 * i];
    float& b = style == RopeStyle::kHalf ? head[i + half] : head[2 * i + 1];
    const float cosine = angles[i], sine = angles[half + i], old_a = a;
    a = old_a * cosine - b * sine;
    b = b * cosine + old_a * sine;
  }
}

namespace {

float load(const std::byte* page, DType dtype, size_t offset, float scale) {
  switch (dtype) {
    case DType::kF32:
      return reinterpret_cast<const float*>(page)[offset];
    case DType::kF16:
      return f16_to_f32(reinterpret_cast<const uint16_t*>(page)[offset]);
    case DType::kBF16:
      return bf16_to_f32(reinterpret_cast<const uint16_t*>(page)[offset]);
    case DType::kF8:
      return scale * f8_to_f32(reinterpret_cast<const uint8_t*>(page)[offset]);
    case DType::kI8:
      return scale * static_cast<float>(reinterpret_cast<const int8_t*>(page)[offset]);
    case DType::kI32:
      break;
  }
  SLUICE_CHECK(!"a KV cache type");
  return 0;
}

void store(std::byte* page, DType dtype, size_t offset, float value, float inverse_scale) {
  switch (dtype) {
    case DType::kF32:
      reinterpret_cast<float*>(page)[offset] = value;
      return;
    case DType::kF16:
      reinterpret_cast<uint16_t*>(page)[offset] = f32_to_f16(value);
      return;
    case DType::kBF16:
      reinterpret_cast<uint16_t*>(page)[offset] = f32_to_bf16(value);
      return;
    case DType::kF8:
      reinterpret_cast<uint8_t*>(page)[offset] = f32_to_f8(value * inverse_scale);
      return;
    case DType::kI8:
      reinterpret_cast<int8_t*>(page)[offset] = static_cast<int8_t>(std::nearbyint(value * inverse_scale));
      return;
    case DType::kI32:
      break;
  }
  SLUICE_CHECK(!"a KV cache type");
}

// A token's scale within its page, one-byte types only: its largest magnitude becomes the type's own.
float set_scale(const KvLayout& layout, std::byte* page, int token, const float* head) {
  if (!layout.has_scales()) return 0;
  const float top = layout.dtype == DType::kF8 ? kLargestF8 : 127;
  float largest = 0;
  for (int d = 0; d < layout.head_size; ++d) largest = std::max(largest, std::fabs(head[d]));
  KvView::scales(page, layout)[token] = largest / top;
  return largest > 0 ? top / largest : 0;
}

float get_scale(const KvLayout& layout, std::byte* page, int token) {
  return layout.has_scales() ? KvView::scales(page, layout)[token] : 0;
}

}  // namespace

float load_key(const KvView& cache, int64_t slot, int kv_head, int d) {
  const KvLayout& l = cache.layout;
  const int token = static_cast<int>(slot % l.block_tokens);
  std::byte* page = cache.key_page(slot / l.block_tokens, kv_head);
  return load(page, l.dtype, l.key_offset(token, d), get_scale(l, page, token));
}

float load_value(const KvView& cache, int64_t slot, int kv_head, int d) {
  const KvLayout& l = cache.layout;
  const int token = static_cast<int>(slot % l.block_tokens);
  std::byte* page = cache.value_page(slot / l.block_tokens, kv_head);
  return load(page, l.dtype, l.value_offset(token, d), get_scale(l, page, token));
}

void store_key(const KvView& cache, int64_t slot, int kv_head, const float* head) {
  const KvLayout& l = cache.layout;
  const int token = static_cast<int>(slot % l.block_tokens);
  std::byte* page = cache.key_page(slot / l.block_tokens, kv_head);
  const float inverse_scale = set_scale(l, page, token, head);
  for (int d = 0; d < l.head_size; ++d) store(page, l.dtype, l.key_offset(token, d), head[d], inverse_scale);
}

void store_value(const KvView& cache, int64_t slot, int kv_head, const float* head) {
  const KvLayout& l = cache.layout;
  const int token = static_cast<int>(slot % l.block_tokens);
  std::byte* page = cache.value_page(slot / l.block_tokens, kv_head);
  const float inverse_scale = set_scale(l, page, token, head);
  for (int d = 0; d < l.head_size; ++d)
    store(page, l.dtype, l.value_offset(token, d), head[d], inverse_scale);
}

void attention(const StepBatch& batch, const AttentionShape& shape, TensorView qkv, const KvView& cache,
               TensorView out) {
  const int head_size = shape.head_size, group = shape.query_heads / shape.kv_heads;
  std::vector<double> scores, sum(static_cast<size_t>(head_size));
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int32_t* blocks = batch.block_table.data() + s * batch.block_table_stride;
    const auto slot_of = [&](int64_t position) {
      return static_cast<int64_t>(blocks[position / cache.layout.block_tokens]) * cache.layout.block_tokens +
             position % cache.layout.block_tokens;
    };
    for (int32_t t = batch.query_start[static_cast<size_t>(s)];
         t < batch.query_start[static_cast<size_t>(s) + 1]; ++t) {
      const int64_t last = batch.positions[static_cast<size_t>(t)];
      const int64_t first =
          shape.sliding_window > 0 ? std::max<int64_t>(0, last - shape.sliding_window + 1) : 0;
      for (int h = 0; h < shape.query_heads; ++h) {
        const float* q = qkv.f32(t) + static_cast<int64_t>(h) * head_size;
        scores.assign(static_cast<size_t>(last - first + 1), 0);
        double largest = -std::numeric_limits<double>::infinity();
        for (int64_t p = first; p <= last; ++p) {
          double dot = 0;
          for (int d = 0; d < head_size; ++d)
            dot += static_cast<double>(q[d]) * load_key(cache, slot_of(p), h / group, d);
          scores[static_cast<size_t>(p - first)] = dot * shape.scale;
          largest = std::max(largest, dot * shape.scale);
        }
        double total = 0;
        std::fill(sum.begin(), sum.end(), 0);
        for (int64_t p = first; p <= last; ++p) {
          const double weight = std::exp(scores[static_cast<size_t>(p - first)] - largest);
          total += weight;
          for (int d = 0; d < head_size; ++d) {
            sum[static_cast<size_t>(d)] += weight * load_value(cache, slot_of(p), h / group, d);
          }
        }
        for (int d = 0; d < head_size; ++d) {
          out.f32(t)[static_cast<int64_t>(h) * head_size + d] =
              static_cast<float>(sum[static_cast<size_t>(d)] / total);
        }
      }
    }
  }
}

void gated_activation(Activation kind, TensorView gate_up, TensorView out) {
  for (int64_t t = 0; t < out.rows; ++t) {
    for (int64_t f = 0; f < out.columns; ++f) {
      const double gate = gate_up.f32(t)[f], up = gate_up.f32(t)[out.columns + f];
      double activated = 0;
      switch (kind) {
        case Activation::kSilu:
          activated = gate / (1 + std::exp(-gate));
          break;
        case Activation::kGeluTanh:  // https://arxiv.org/abs/1606.08415
          activated =
              0.5 * gate * (1 + std::tanh(0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)));
          break;
      }
      out.f32(t)[f] = static_cast<float>(activated * up);
    }
  }
}

}  // namespace sluice::reference
