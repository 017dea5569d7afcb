#include "kernels/cpu/matmul.h"

#include <algorithm>

namespace sluice::cpu {
namespace {

constexpr int64_t kBlockRows = 384;  // activations of so many rows stay in a core's L2 beside a panel
constexpr int64_t kInlineWork =
    64 << 10;  // bytes of weights times rows under which waking threads costs more
constexpr int64_t kParallelPrepare = 16 << 10;  // activations

}  // namespace

// The activations in the order of the weight's columns.
TensorView MatmulRunner::in_order(const PackedWeight& w, TensorView x) {
  const std::vector<int32_t>& order = w.input_order();
  if (order.empty()) return x;
  const int64_t inputs = w.columns();
  if (ordered_.size() < static_cast<size_t>(x.rows * inputs))
    ordered_.resize(static_cast<size_t>(x.rows * inputs));
  const int chunks = x.rows * inputs < kParallelPrepare
                         ? 1
                         : static_cast<int>(std::min<int64_t>(x.rows, pool_->threads() * 4));
  pool_->run(chunks, [&](int chunk, int) {
    for (int64_t r = x.rows * chunk / chunks; r < x.rows * (chunk + 1) / chunks; ++r) {
      const float* const from = x.f32(r);
      float* const to = ordered_.data() + r * inputs;
      for (int64_t c = 0; c < inputs; ++c) to[c] = from[order[static_cast<size_t>(c)]];
    }
  });
  return TensorView::of(ordered_.data(), DType::kF32, x.rows, inputs);
}

void MatmulRunner::prepare(const PackedWeight& w, TensorView x) {
  const int64_t rows = x.rows, inputs = w.columns();
  const int64_t even = (inputs + 1) / 2 * 2;
  const bool quantise = w.any_quantised(), round = w.any_bf16() && kernels_->bf16_dot;
  if (!quantise && !round) return;
  const auto grow = [](auto& v, int64_t n) {
    if (v.size() < static_cast<size_t>(n)) v.resize(static_cast<size_t>(n));
  };
  if (quantise) {
    grow(values_, rows * inputs);
    grow(runs32_, rows * (inputs / 32));
    if (w.any_run16()) grow(runs16_, rows * (inputs / 16));
  }
  if (round) grow(rounded_, rows * even);
  const int chunks =
      rows * inputs < kParallelPrepare ? 1 : static_cast<int>(std::min<int64_t>(rows, pool_->threads() * 4));
  pool_->run(chunks, [&](int chunk, int) {
    for (int64_t r = rows * chunk / chunks; r < rows * (chunk + 1) / chunks; ++r) {
      const float* from = x.f32(r);
      if (quantise) {
        kernels_->quantize_row(from, inputs, values_.data() + r * inputs, runs32_.data() + r * (inputs / 32),
                               w.any_run16() ? runs16_.data() + r * (inputs / 16) : nullptr);
      }
      if (round) kernels_->round_row(from, inputs, rounded_.data() + r * even);
    }
  });
}

// Panels are counted across the segments.
void MatmulRunner::run_panels(const PackedWeight& w, TensorView x, const float* bias, TensorView out,
                              int first_panel, int last_panel, int64_t first_row, int64_t last_row) const {
  const int64_t inputs = w.columns();
  int passed = 0;
  for (const Segment& s : w.segments()) {
    const int begin = std::max(first_panel - passed, 0), end = std::min(last_panel - passed, s.panel_count);
    passed += s.panel_count;
    if (begin >= end) continue;
    MatmulArgs a{};
    a.panels = s.panels + begin * s.panel_bytes;
    a.panel_bytes = s.panel_bytes;
    a.panel_count = end - begin;
    a.inputs = inputs;
    if (is_quantised(s.format)) {
      const int64_t runs = inputs / run_inputs(s.format);
      a.x = values_.data() + first_row * inputs;
      a.x_stride = inputs;
      a.runs = (run_inputs(s.format) == 16 ? runs16_ : runs32_).data() + first_row * runs;
      a.run_stride = runs;
    } else if (s.format == PanelFormat::kBF16 && kernels_->bf16_dot) {
      const int64_t even = (inputs + 1) / 2 * 2;
      a.inputs = even;
      a.x = rounded_.data() + first_row * even;
      a.x_stride = even * 2;
    } else {
      a.x = x.f32(first_row);
      a.x_stride = x.row_stride * 4;
    }
    a.rows = last_row - first_row;
    const int64_t first_column = s.first_row + static_cast<int64_t>(begin) * kPanelColumns;
    a.bias = bias != nullptr ? bias + first_column : nullptr;
    a.out = out.f32(first_row) + first_column;
    a.out_stride = out.row_stride;
    a.columns = std::min<int64_t>(static_cast<int64_t>(end - begin) * kPanelColumns,
                                  s.rows - static_cast<int64_t>(begin) * kPanelColumns);
    kernels_->matmul[static_cast<int>(s.format)](a);
  }
}

void MatmulRunner::run(const PackedWeight& w, TensorView x, const float* bias, TensorView out) {
  SLUICE_CHECK_EQ(x.columns, w.columns());
  SLUICE_CHECK_EQ(out.columns, w.rows());
  SLUICE_CHECK_EQ(out.rows, x.rows);
  if (x.rows == 0) return;
  x = in_order(w, x);
  prepare(w, x);
  const int panels = w.panel_count(), pairs = (panels + 1) / 2;
  const int64_t row_blocks = (x.rows + kBlockRows - 1) / kBlockRows;
  const int64_t work = static_cast<int64_t>(w.bytes()) * x.rows;
  const int64_t wanted = work < kInlineWork      ? 1
                         : pool_->threads() == 1 ? 1
                                                 : pool_->threads() * (work < (8 << 20) ? 4 : 8);
  const auto chunks = static_cast<int>(std::min<int64_t>(pairs, wanted));
  pool_->run(chunks * static_cast<int>(row_blocks), [&](int part, int) {
    const int64_t block = part / chunks, chunk = part % chunks;
    const int begin = static_cast<int>(pairs * chunk / chunks) * 2;
    const int end = std::min(static_cast<int>(pairs * (chunk + 1) / chunks) * 2, panels);
    run_panels(w, x, bias, out, begin, end, x.rows * block / row_blocks, x.rows * (block + 1) / row_blocks);
  });
}

}  // namespace sluice::cpu
