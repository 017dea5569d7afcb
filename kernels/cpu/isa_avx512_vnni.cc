// The inner loops compiled for AVX-512 VNNI; see kernel_table.h for the rules.
#include "kernels/cpu/kernel_table.h"

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sluice::cpu {
namespace {

constexpr char kTableName[] = "AVX-512 VNNI";
// Tile heights and widths that fit thirty-two registers.
constexpr int kQuantTileRows = 6, kQuantTilePanels = 2;
constexpr int kDenseTileRows = 6, kDenseTilePanels = 4;
constexpr int kScoreStrips = 4, kSumVectors = 4, kAttendTileRows = 6;

// In this order: each group stands on those before it.
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/loops_matmul.h"
#include "kernels/cpu/loops_pointwise.h"

#include "kernels/cpu/loops_attention.h"
#include "kernels/cpu/loops_table.h"

}  // namespace

const KernelTable* avx512_vnni_kernels() {
  return &kTable;
}

}  // namespace sluice::cpu
