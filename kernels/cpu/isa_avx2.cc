// The inner loops compiled for AVX2; see kernel_table.h for the rules.
#include "kernels/cpu/kernel_table.h"

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sluice::cpu {
namespace {

constexpr char kTableName[] = "AVX2";
// Tile heights and widths that fit sixteen 256-bit registers, two to a vector of sixteen lanes.
constexpr int kQuantTileRows = 2, kQuantTilePanels = 1;
constexpr int kDenseTileRows = 5, kDenseTilePanels = 1;
constexpr int kScoreStrips = 1, kSumVectors = 1, kAttendTileRows = 4;

// In this order: each group stands on those before it.
#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/loops_matmul.h"
#include "kernels/cpu/loops_pointwise.h"

#include "kernels/cpu/loops_attention.h"
#include "kernels/cpu/loops_table.h"

}  // namespace

const KernelTable* avx2_kernels() {
  return &kTable;
}

}  // namespace sluice::cpu
