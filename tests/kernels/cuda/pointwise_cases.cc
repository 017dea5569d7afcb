// Norms, activations, rotary positions and gathers against the reference, over rows of one vector, of odd
// counts of them, and of more than a block has threads.
#include <fmt/format.h>

#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda::testing {
namespace {

constexpr double kBf16 = 0.006;  // one rounding to bf16 is at most 1/512 of the value

TensorView view_of(std::vector<float>& values, int64_t rows, int64_t columns) {
  return TensorView::of(values.data(), DType::kF32, rows, columns);
}

Rows rows_of(const DeviceArray<uint16_t>& array, int rows, int columns, int64_t stride = 0) {
  return {reinterpret_cast<bf16*>(array.get()), stride > 0 ? stride : columns, rows, columns};
}

std::string rms_norm_case(int rows, int columns) {
  std::vector<float> x = rounded(random_values(static_cast<size_t>(rows * columns), 1));
  const std::vector<float> scale = random_values(static_cast<size_t>(columns), 2);
  std::vector<float> want(x.size());
  reference::rms_norm(view_of(x, rows, columns), scale.data(), 1e-5F, view_of(want, rows, columns));
  const DeviceArray<uint16_t> in(as_bf16(x));
  DeviceArray<uint16_t> out(x.size());
  const DeviceArray<float> scales(scale);
  rms_norm(rows_of(in, rows, columns), scales.get(), 1e-5F, rows_of(out, rows, columns), nullptr);
  return judge("rms_norm", relative_error(as_float(out.take()), want), kBf16);
}

std::string add_rms_norm_case(int rows, int columns) {
  const auto count = static_cast<size_t>(rows * columns);
  std::vector<float> x = rounded(random_values(count, 1)), delta = rounded(random_values(count, 3));
  const std::vector<float> scale = random_values(static_cast<size_t>(columns), 2);
  const DeviceArray<uint16_t> residual(as_bf16(x)), deltas(as_bf16(delta));
  DeviceArray<uint16_t> out(count);
  const DeviceArray<float> scales(scale);
  for (size_t i = 0; i < count; ++i) x[i] += delta[i];
  x = rounded(x);
  std::vector<float> want(count);
  reference::rms_norm(view_of(x, rows, columns), scale.data(), 1e-5F, view_of(want, rows, columns));
  add_rms_norm(rows_of(residual, rows, columns), rows_of(deltas, rows, columns), scales.get(), 1e-5F,
               rows_of(out, rows, columns), nullptr);
  if (as_float(residual.take()) != x) return "add_rms_norm leaves a wrong sum";
  return judge("add_rms_norm", relative_error(as_float(out.take()), want), kBf16);
}

std::string head_norm_case(int heads, int head_size) {
  const int rows = 3, columns = heads * head_size, stride = columns + 16;
  std::vector<float> x = rounded(random_values(static_cast<size_t>(rows * stride), 1));
  const std::vector<float> scale = random_values(static_cast<size_t>(head_size), 2);
  const DeviceArray<uint16_t> array(as_bf16(x));
  const DeviceArray<float> scales(scale);
  head_norm(rows_of(array, rows, columns, stride), heads, head_size, scales.get(), 1e-6F, nullptr);
  std::vector<float> want = x;
  for (int h = 0; h < heads; ++h) {
    const TensorView all = view_of(want, rows, stride), head = all.slice(h * head_size, head_size);
    reference::rms_norm(head, scale.data(), 1e-6F, head);
  }
  return judge("head_norm", relative_error(as_float(array.take()), want), kBf16);
}

std::string gated_activation_case(Activation kind, int rows, int columns) {
  std::vector<float> x = rounded(random_values(static_cast<size_t>(rows * columns) * 2, 1, 3));
  std::vector<float> want(x.size() / 2);
  reference::gated_activation(kind, view_of(x, rows, 2 * columns), view_of(want, rows, columns));
  const DeviceArray<uint16_t> in(as_bf16(x));
  DeviceArray<uint16_t> out(want.size());
  gated_activation(kind, rows_of(in, rows, 2 * columns), rows_of(out, rows, columns), nullptr);
  return judge("gated_activation", relative_error(as_float(out.take()), want), kBf16);
}

std::string gather_case(int columns) {
  const std::vector<float> x = rounded(random_values(static_cast<size_t>(7 * columns), 1));
  const std::vector<int32_t> rows = {6, 0, 3, 3};
  const DeviceArray<uint16_t> in(as_bf16(x));
  const DeviceArray<int32_t> ids(rows);
  DeviceArray<uint16_t> out(rows.size() * static_cast<size_t>(columns));
  DeviceArray<float> out_f32(out.size());
  gather_rows(rows_of(in, 7, columns), ids.get(), rows_of(out, 4, columns), nullptr);
  gather_rows_f32(rows_of(in, 7, columns), ids.get(), 4, out_f32.get(), nullptr);
  std::vector<float> want;
  for (const int32_t r : rows)
    want.insert(want.end(), x.begin() + r * columns, x.begin() + (r + 1) * columns);
  if (as_float(out.take()) != want) return "gather_rows differs";
  return out_f32.take() == want ? "" : "gather_rows_f32 differs";
}

std::string rope_angles_case() {
  const std::vector<int32_t> positions = {0, 1, 77, 131071};
  std::vector<float> inverse(48);
  for (size_t i = 0; i < inverse.size(); ++i)
    inverse[i] = std::pow(10000.0F, -static_cast<float>(i) / static_cast<float>(inverse.size()));
  std::vector<float> want(positions.size() * 96);
  reference::rope_angles(positions, inverse, 1.25F, view_of(want, 4, 96));
  const DeviceArray<int32_t> at(positions);
  const DeviceArray<float> frequencies(inverse);
  DeviceArray<float> out(want.size());
  rope_angles(at.get(), 4, frequencies.get(), 48, 1.25F, out.get(), nullptr);
  return judge("rope_angles", relative_error(out.take(), want), 1e-6);
}

std::string rope_store_case(RopeStyle style, DType dtype, int head_size) {
  const AttentionShape shape{.query_heads = 3, .kv_heads = 2, .head_size = head_size};
  const KvLayout layout{
      .block_tokens = 16, .kv_heads = 2, .head_size = head_size, .dtype = dtype, .order = KvOrder::kRows};
  const std::vector<int64_t> slots = {16, 31, 5};
  const int tokens = 3, columns = shape.qkv_columns();
  std::vector<float> x = rounded(random_values(static_cast<size_t>(tokens * columns), 1));
  std::vector<float> angles = random_values(static_cast<size_t>(tokens * head_size), 2);
  const size_t cache_bytes = layout.block_bytes() * 2;
  DeviceArray<std::byte> keys(cache_bytes), values(cache_bytes);
  const DeviceArray<uint16_t> qkv(as_bf16(x));
  const DeviceArray<float> turned_by(angles);
  const DeviceArray<int64_t> to(slots);
  const PagedCache cache{keys.get(),
                         values.get(),
                         dtype,
                         layout.block_tokens,
                         layout.kv_heads,
                         head_size,
                         static_cast<int64_t>(layout.page_bytes())};
  rope_store_kv(rows_of(qkv, tokens, columns), shape, style, turned_by.get(), to.get(), cache, nullptr);

  std::vector<std::byte> host_keys = keys.take(), host_values = values.take();
  const KvView got{layout, host_keys.data(), host_values.data(), 2};
  std::vector<float> stored, wanted;
  for (int t = 0; t < tokens; ++t) {
    float* const heads = x.data() + t * columns;
    for (int h = 0; h < 5; ++h)
      reference::rotate(heads + h * head_size, head_size, style, &angles[static_cast<size_t>(t * head_size)]);
    for (int h = 0; h < 2; ++h) {
      for (int d = 0; d < head_size; ++d) {
        stored.push_back(reference::load_key(got, slots[static_cast<size_t>(t)], h, d));
        wanted.push_back(heads[(3 + h) * head_size + d]);
        stored.push_back(reference::load_value(got, slots[static_cast<size_t>(t)], h, d));
        wanted.push_back(heads[(5 + h) * head_size + d]);
      }
    }
  }
  std::string wrong = judge("rope_store_kv's qkv", relative_error(as_float(qkv.take()), x), kBf16);
  const double tolerance = dtype == DType::kF8 ? 0.07 : kBf16;
  return wrong.empty() ? judge("rope_store_kv's cache", relative_error(stored, wanted), tolerance) : wrong;
}

}  // namespace

void add_pointwise_cases(std::vector<Case>& cases) {
  for (const int columns : {8, 72, 576, 2056, 4096}) {
    for (const int rows : {1, 5}) {
      const std::string shape = fmt::format("{}x{}", rows, columns);
      cases.push_back({"rms_norm_" + shape, [=] { return rms_norm_case(rows, columns); }});
      cases.push_back({"add_rms_norm_" + shape, [=] { return add_rms_norm_case(rows, columns); }});
      cases.push_back(
          {"silu_" + shape, [=] { return gated_activation_case(Activation::kSilu, rows, columns); }});
      cases.push_back(
          {"gelu_" + shape, [=] { return gated_activation_case(Activation::kGeluTanh, rows, columns); }});
    }
    cases.push_back({fmt::format("gather_{}", columns), [=] { return gather_case(columns); }});
  }
  for (const int head_size : {64, 80, 96, 128, 256})
    cases.push_back({fmt::format("head_norm_{}", head_size), [=] { return head_norm_case(3, head_size); }});
  cases.push_back({"rope_angles", rope_angles_case});
  for (const int head_size : {64, 80, 96, 128, 256}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF8}) {
      for (const RopeStyle style : {RopeStyle::kHalf, RopeStyle::kInterleaved}) {
        cases.push_back({fmt::format("rope_store_{}_{}_{}", name_of(dtype), head_size,
                                     style == RopeStyle::kHalf ? "half" : "interleaved"),
                         [=] { return rope_store_case(style, dtype, head_size); }});
      }
    }
  }
}

}  // namespace sluice::cuda::testing
