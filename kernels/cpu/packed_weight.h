// A matrix in the layout that the loops read: panels of 16 outputs (kernel_table.h draws them), each of the
// fused parts a segment of its own, because parts may differ in format and need not be multiples of 16.
// Read-only once packed.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"

namespace sluice::cpu {

struct Segment {
  PanelFormat format = PanelFormat::kF32;
  const uint8_t* panels = nullptr;
  int64_t panel_bytes = 0;
  int panel_count = 0;
  int64_t first_row = 0;  // of the whole weight
  int64_t rows = 0;
};

constexpr bool is_quantised(PanelFormat f) {
  return f < PanelFormat::kF32;
}
constexpr int run_inputs(PanelFormat f) {
  return f == PanelFormat::kNibble16 || f == PanelFormat::kNibbleMin16 || f == PanelFormat::kByte16 ? 16 : 32;
}

class PackedWeight : public Weight {
 public:
  PackedWeight(int64_t rows, int64_t columns) : Weight(rows, columns) {}
  size_t bytes() const override { return bytes_; }

  const std::vector<Segment>& segments() const { return segments_; }
  bool any_quantised() const { return any_quantised_; }
  bool any_run16() const { return any_run16_; }
  bool any_bf16() const { return any_bf16_; }
  bool any_f32() const { return any_f32_; }  // f32 or f16 panels: the activations stay f32
  int panel_count() const { return panel_count_; }
  // Column c multiplies input input_order()[c]; empty: input c.
  const std::vector<int32_t>& input_order() const { return input_order_; }

  // One row as f32 (embedding).
  void read_row(int64_t row, float* out) const;

 private:
  friend Result<std::unique_ptr<Weight>> pack_weight(std::span<const HostWeight>, Arena&, ThreadPool&);

  ArenaPiece memory_;
  std::vector<Segment> segments_;
  std::vector<int32_t> input_order_;
  size_t bytes_ = 0;
  bool any_quantised_ = false, any_run16_ = false, any_bf16_ = false, any_f32_ = false;
  int panel_count_ = 0;

  void read_row_as_packed(int64_t row, float* out) const;
};

// kCorrupt for shapes that cannot be, kOutOfMemory when the memory is refused.
Result<std::unique_ptr<Weight>> pack_weight(std::span<const HostWeight> parts, Arena& arena,
                                            ThreadPool& pool);

}  // namespace sluice::cpu
