#include "models/layers.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice {

Result<std::unique_ptr<Weight>> WeightLoader::matrix(std::span<const Part> parts, int64_t columns) {
  std::vector<HostWeight> views;
  for (const auto& part : parts) {
    SLUICE_ASSIGN(HostWeight view, tensors_.matrix(part.name, part.rows, columns));
    file_bytes_done_ += view.row_bytes() * static_cast<size_t>(view.rows);
    const auto [row_range, column_range] =
        sharding_.piece(part.held_as.empty() ? part.name : part.held_as, part.rows, columns);
    if (column_range != Range{0, columns} && !view.input_order.empty()) {
      return Error{ErrorCode::kUnsupported,
                   "'" + part.name +
                       "' has its inputs sorted by groups (GPTQ's desc_act) and cannot be divided "
                       "among ranks; set --tensor-parallel-size to 1, or take a model without desc_act.",
                   ""};
    }
    if (column_range != Range{0, columns}) view = view.column_slice(column_range.first, column_range.count);
    views.push_back(view.row_slice(row_range.first, row_range.count));
  }
  SLUICE_ASSIGN(auto weight, backend_.load_weight(views));
  packed_bytes_ += weight->bytes();
  if (options_.on_progress && tensors_.total_bytes() > 0) {
    options_.on_progress(
        std::min(1.0, static_cast<double>(file_bytes_done_) / static_cast<double>(tensors_.total_bytes())));
  }
  return weight;
}

Result<std::unique_ptr<Buffer>> WeightLoader::vector(std::span<const Part> parts) {
  std::vector<float> values;
  for (const auto& part : parts) {
    SLUICE_ASSIGN(const auto whole, tensors_.vector(part.name, part.rows));
    const Range held = sharding_.piece(part.name, part.rows, 1).rows;
    values.insert(values.end(), whole.begin() + held.first, whole.begin() + held.first + held.count);
  }
  SLUICE_ASSIGN(auto buffer, backend_.allocate(values.size() * sizeof(float)));
  backend_.copy_to_device(buffer->data(), values.data(), values.size() * sizeof(float));
  packed_bytes_ += buffer->size();
  return buffer;
}

Result<Activations> Activations::allocate(Backend& backend, const ModelConfig& c,
                                          const LoadModelOptions& options) {
  Activations a;
  a.memory = std::make_shared<std::vector<std::unique_ptr<Buffer>>>();
  const AttentionShape shape = c.attention_shape();
  const int64_t tokens = options.max_tokens_per_step;
  const struct {
    TensorView* view;
    int64_t rows, columns;
    DType dtype;
  } wanted[] = {
      {&a.residual, tokens, c.width, backend.activation_dtype()},
      {&a.normed, tokens, c.width, backend.activation_dtype()},
      {&a.qkv, tokens, shape.qkv_columns(), backend.activation_dtype()},
      {&a.attended, tokens, static_cast<int64_t>(c.query_heads) * c.head_size, backend.activation_dtype()},
      {&a.gate_up, tokens, 2 * static_cast<int64_t>(c.mlp_width), backend.activation_dtype()},
      {&a.gated, tokens, c.mlp_width, backend.activation_dtype()},
      {&a.delta, tokens, c.width, backend.activation_dtype()},
      {&a.angles, tokens, c.head_size, DType::kF32},
      {&a.last, options.max_rows_to_sample, c.width, backend.activation_dtype()},
  };
  for (const auto& w : wanted) {
    SLUICE_ASSIGN(auto buffer, backend.allocate(static_cast<size_t>(w.rows * w.columns) * bytes_of(w.dtype)));
    *w.view = TensorView::of(buffer->data(), w.dtype, w.rows, w.columns);
    a.memory->push_back(std::move(buffer));
  }
  return a;
}

Activations Activations::cut(int64_t tokens, int64_t sampled) const {
  Activations a = *this;
  for (TensorView* view :
       {&a.residual, &a.normed, &a.qkv, &a.attended, &a.gate_up, &a.gated, &a.delta, &a.angles}) {
    *view = view->head(tokens);
  }
  a.last = a.last.head(sampled);
  return a;
}

void Linear::operator()(Backend& backend, TensorView x, TensorView out) const {
  backend.matmul(*weight, x, bias ? reinterpret_cast<const float*>(bias->data()) : nullptr, out);
}

void attend(const StepArguments& step, const AttentionLayer& layer, const KvView& cache) {
  const auto& [backend, config, shape, batch, a] = step;
  const int64_t query_columns = static_cast<int64_t>(shape.query_heads) * shape.head_size;
  layer.qkv(backend, a.normed, a.qkv);
  if (layer.query_norm.scale) {
    const TensorView queries = a.qkv.slice(0, query_columns);
    const TensorView keys =
        a.qkv.slice(query_columns, static_cast<int64_t>(shape.kv_heads) * shape.head_size);
    backend.head_norm(queries, shape.query_heads, shape.head_size, layer.query_norm.values(),
                      layer.query_norm.eps);
    backend.head_norm(keys, shape.kv_heads, shape.head_size, layer.key_norm.values(), layer.key_norm.eps);
  }
  backend.rope_store_kv(batch, shape, config.rope.style, a.angles, a.qkv, cache);
  backend.attention(batch, shape, a.qkv, cache, a.attended);
  layer.output(backend, a.attended, a.delta);
  backend.all_reduce(a.delta);
}

void gated_mlp(const StepArguments& step, const GatedMlp& layer) {
  layer.gate_up(step.backend, step.a.normed, step.a.gate_up);
  step.backend.gated_activation(step.config.activation, step.a.gate_up, step.a.gated);
  layer.down(step.backend, step.a.gated, step.a.delta);
  step.backend.all_reduce(step.a.delta);
}

namespace {

// Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended.
void scale_llama3(const RopeConfig& rope, std::vector<float>& inverse) {
  const double low_wave = rope.original_context / static_cast<double>(rope.low_frequency_factor);
  const double high_wave = rope.original_context / static_cast<double>(rope.high_frequency_factor);
  for (float& f : inverse) {
    const double wave = 2 * std::numbers::pi / f;
    if (wave > low_wave) {
      f = f / rope.factor;
    } else if (wave > high_wave) {
      const double smooth = (rope.original_context / wave - rope.low_frequency_factor) /
                            (rope.high_frequency_factor - rope.low_frequency_factor);
      f = static_cast<float>((1 - smooth) * f / rope.factor + smooth * f);
    }
  }
}

// YaRN: dimensions that turn more than beta_fast times over the original context keep their frequency, those
// that turn less than beta_slow times are interpolated, a ramp between.
float scale_yarn(const RopeConfig& rope, int head_size, std::vector<float>& inverse) {
  const auto dimension_turning = [&](double turns) {
    return head_size * std::log(rope.original_context / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  const double low = std::max(std::floor(dimension_turning(rope.beta_fast)), 0.0);
  double high = std::min(std::ceil(dimension_turning(rope.beta_slow)), head_size - 1.0);
  if (high == low) high += 0.001;
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = static_cast<float>(inverse[i] / rope.factor * ramp + inverse[i] * (1 - ramp));
  }
  if (rope.attention_factor > 0) return rope.attention_factor;
  return rope.factor <= 1 ? 1.0F : 0.1F * std::log(rope.factor) + 1.0F;
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeConfig& rope, int head_size) {
  RopeFrequencies result;
  for (int i = 0; i < head_size / 2; ++i) {
    result.inverse.push_back(
        static_cast<float>(std::pow(static_cast<double>(rope.theta), -2.0 * i / head_size)));
  }
  if (!rope.frequency_divisors.empty()) {
    SLUICE_CHECK_EQ(rope.frequency_divisors.size(), result.inverse.size());
    for (size_t i = 0; i < result.inverse.size(); ++i) result.inverse[i] /= rope.frequency_divisors[i];
    return result;
  }
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      for (float& f : result.inverse) f /= rope.factor;
      break;
    case RopeScaling::kLlama3:
      scale_llama3(rope, result.inverse);
      break;
    case RopeScaling::kYarn:
      result.attention_factor = scale_yarn(rope, head_size, result.inverse);
      break;
  }
  return result;
}

}  // namespace sluice
