// Prefill attention: out[t] = softmax(scale * q[t] . K) V for sequences with many new tokens, whose keys are
// in the cache already, behind those of earlier chunks and shared prefixes. A block takes one work of the
// list for one kv head: 128 query rows (64 where D is 256), a row being a token and one of the H / K heads
// of the group, so that all of them share the keys.
//
// Tiles of 64 keys (32 where D is 256) lie at fixed positions of the sequence and pass through two stages of
// shared memory: while the block multiplies one, cp.async brings the next. Each of the four warps has 32
// rows (16 where D is 256): every key and value that it loads from shared memory serves two matrix
// instructions. Queries stay in shared memory, scores, weights and sums in registers. Only tiles at the
// diagonal, or at the edge of the window, are masked; those that none of a warp's rows sees are passed over.
// What a tile does to a row depends on neither the row's place in its block nor on the other rows.
//
// Flops: 4 D for each query head and pair of query and key. Bytes of the cache: 2 D numbers for each key, kv
// head and work, mostly from L2.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.h"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;

// Of a query row; in shared memory, for registers are short.
struct RowPlace {
  int32_t position, token, head;  // of the sequence; row of qkv and out; query head

  // Element 0 of it in rows `stride` apart.
  __device__ __forceinline__ int64_t offset(int64_t stride, int head_size) const {
    return token * stride + static_cast<int64_t>(head) * head_size;
  }
};

template <class Stored, int D>
struct PrefillShared {
  static constexpr int kRows = prefill_tile_rows(D);
  static constexpr int kRowTiles = kRows / (16 * kWarps);                             // of a warp
  static constexpr int kKeys = D > 128 || (D > 96 && sizeof(Stored) == 1) ? 32 : 64;  // as registers allow
  static constexpr int kSlices = kKeys / kSliceKeys;
  static constexpr int kStageBytes = kSlices * Slice<Stored, D>::kBytes;
  static constexpr int kQueriesAt = 2 * kStageBytes;
  static constexpr int kPlacesAt = kQueriesAt + kRows * QueryRows<Stored, D>::kRowBytes;
  static constexpr int kBytes = kPlacesAt + kRows * static_cast<int>(sizeof(RowPlace));
};

struct PrefillArguments {
  AttentionArrays arrays;
  PrefillList list;
  int group = 1, sliding_window = 0;
  float scale = 1;  // on scores, for powers of 2
};

// Begins the copy of tile `tile` into `stage`: kThreads / kSlices threads for each slice. Of keys that some
// row sees, [first_key, end_key), and their neighbours in a slice; the others become zeros.
template <class Stored, int D>
__device__ __forceinline__ void begin_copy(const PagedCache& cache, const int32_t* table, int kv_head,
                                           int tile, int first_key, int end_key, std::byte* stage) {
  using Room = PrefillShared<Stored, D>;
  constexpr int kLanes = kThreads / Room::kSlices;
  const int own = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int slice = tile * Room::kSlices + own, per_block = cache.block_tokens / kSliceKeys;
  const int begin = slice * kSliceKeys;
  const int valid = begin + kSliceKeys > first_key ? end_key - begin : 0;
  const int block = valid > 0 ? table[slice / per_block] : 0;
  Slice<Stored, D>::template copy<kLanes>(
      stage + own * Slice<Stored, D>::kBytes, cache,
      place_of<Stored, D>(cache, block, kv_head, slice % per_block * kSliceKeys), lane, valid);
}

// One tile of keys for a warp's rows.
template <class Stored, int D>
struct WarpRows {
  using Room = PrefillShared<Stored, D>;
  using OneSlice = Slice<Stored, D>;
  using Queries = QueryRows<Stored, D>;
  static constexpr int kRowTiles = Room::kRowTiles;

  RowState states[kRowTiles];
  float sums[kRowTiles][D / 8][4] = {};

  __device__ __forceinline__ void take(const std::byte* stage, const std::byte* queries,
                                       const RowPlace* places, int first_key, bool masked,
                                       const PrefillArguments& args, int lane) {
    const int t = lane % 4;
    float scores[kRowTiles][Room::kKeys / 8][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      uint32_t query[kRowTiles][4];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r)
        Queries::load(query[r], queries + 16 * r * Queries::kRowBytes, step, lane);
#pragma unroll
      for (int s = 0; s < Room::kSlices; ++s) {
        uint32_t keys[2][2];
        OneSlice::load_keys(keys, stage + s * OneSlice::kBytes, step, lane);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          Format<Stored>::multiply(scores[r][2 * s], query[r], keys[0]);
          Format<Stored>::multiply(scores[r][2 * s + 1], query[r], keys[1]);
        }
      }
    }
    if constexpr (OneSlice::kScaled) {
#pragma unroll
      for (int s = 0; s < Room::kSlices; ++s) {
        const float4 scales = OneSlice::key_scales(stage + s * OneSlice::kBytes, t);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) scale_columns(scores[r][2 * s], scores[r][2 * s + 1], scales);
      }
    }
    if (masked) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const RowPlace* const two = places + 16 * r + lane / 4;
        const Visible visible[2] = {Visible::at(two[0].position, args.sliding_window),
                                    Visible::at(two[8].position, args.sliding_window)};
#pragma unroll
        for (int s = 0; s < Room::kSlices; ++s) {
          hide<Stored, D>(scores[r][2 * s], scores[r][2 * s + 1], first_key + s * kSliceKeys, visible, t);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) weigh(scores[r], args.scale, states[r], sums[r]);
#pragma unroll
    for (int s = 0; s < Room::kSlices; ++s) {
      const std::byte* const slice = stage + s * OneSlice::kBytes;
      uint32_t weights[kRowTiles][4];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r)
        pack_weights<Stored, D>(weights[r], scores[r][2 * s], scores[r][2 * s + 1], slice, t);
#pragma unroll
      for (int step = 0; step < D / 16; ++step) {
        uint32_t values[2][2];
        OneSlice::load_values(values, slice, step, lane);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          Format<Stored>::multiply(sums[r][2 * step], weights[r], values[0]);
          Format<Stored>::multiply(sums[r][2 * step + 1], weights[r], values[1]);
        }
      }
    }
  }
};

template <class Stored, int D>
__device__ __forceinline__ void prefill_one(const PrefillArguments& args, const PrefillWork& work,
                                            int kv_head, std::byte* shared) {
  using Room = PrefillShared<Stored, D>;
  using Queries = QueryRows<Stored, D>;
  constexpr int kRowTiles = Room::kRowTiles;
  const AttentionArrays& arrays = args.arrays;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int before = work.context - work.tokens;
  const int32_t* const table = arrays.block_table + work.sequence * arrays.block_table_stride;
  std::byte* const queries = shared + Room::kQueriesAt;

  const int rows = min(Room::kRows, work.tokens * args.group - work.first_row);  // of this tile
  const auto place_of_row = [&](int row) {
    const int all = work.first_row + row, token = all / args.group;
    return RowPlace{before + token, work.first_token + token, kv_head * args.group + all % args.group};
  };
  const int seen_first = max(0, Visible::at(place_of_row(0).position, args.sliding_window).first);
  const int seen_end = place_of_row(rows - 1).position + 1;
  const int first_tile = seen_first / Room::kKeys, end_tile = (seen_end - 1) / Room::kKeys + 1;

  begin_copy<Stored, D>(arrays.cache, table, kv_head, first_tile, seen_first, seen_end, shared);
  copy_async_commit();
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < Room::kRows * (D / 16); i += kThreads) {
    const int row = i / (D / 16), step = i % (D / 16);
    const bf16* const from = arrays.qkv + place_of_row(row).offset(arrays.qkv_stride, D) + step * 16;
    Queries::store(queries, row, step, row < rows ? from : nullptr);
  }

  const int own_row = warp * 16 * kRowTiles;
  auto* const places = reinterpret_cast<RowPlace*>(shared + Room::kPlacesAt) + own_row;
  if (lane < 16 * kRowTiles) places[lane] = place_of_row(min(own_row + lane, rows - 1));
  WarpRows<Stored, D> own;

  for (int tile = first_tile; tile < end_tile; ++tile) {
    std::byte* const stage = shared + (tile - first_tile) % 2 * Room::kStageBytes;
    std::byte* const next = shared + (tile + 1 - first_tile) % 2 * Room::kStageBytes;
    SLUICE_COPY_ASYNC_WAIT(0);
    __syncthreads();  // the tile is there, and nobody needs the one before
    if (tile + 1 < end_tile)
      begin_copy<Stored, D>(arrays.cache, table, kv_head, tile + 1, seen_first, seen_end, next);
    copy_async_commit();
    const int first_key = tile * Room::kKeys, last_key = first_key + Room::kKeys - 1;
    if (own_row >= rows) continue;
    // Of the warp's first and last row; between them lie all others.
    const Visible earliest = Visible::at(places[0].position, args.sliding_window);
    const Visible latest = Visible::at(places[16 * kRowTiles - 1].position, args.sliding_window);
    if (first_key > latest.last || last_key < earliest.first) continue;
    const bool masked = first_key < latest.first || last_key > earliest.last;
    own.take(stage, queries + own_row * Queries::kRowBytes, places, first_key, masked, args, lane);
  }
  if (own_row >= rows) return;

  // Out through the place of the warp's own queries, so that whole lines are stored.
  const int t = lane % 4;
  std::byte* const own_out = queries + own_row * Queries::kRowBytes;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float share = 1 / (row_total(own.states[r].total[half]) * kLift<Stored>);
      std::byte* const rows_out = own_out + (16 * r + 8 * half) * Queries::kRowBytes + 4 * t;
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
        *reinterpret_cast<uint32_t*>(rows_out + Mixed<Queries::kChunks>::offset_from(lane / 4, 0, i)) =
            pack_bf16(own.sums[r][i][2 * half] * share, own.sums[r][i][2 * half + 1] * share);
      }
    }
  }
  __syncwarp();
#pragma unroll 1
  for (int i = lane; i < 16 * kRowTiles * Queries::kChunks; i += kWarp) {
    const int row = i / Queries::kChunks, chunk = i % Queries::kChunks;
    if (own_row + row >= rows) break;
    *reinterpret_cast<uint4*>(arrays.out + places[row].offset(arrays.out_stride, D) + 8 * chunk) =
        *reinterpret_cast<const uint4*>(own_out + Mixed<Queries::kChunks>::offset(row, chunk));
  }
}

template <class Stored, int D>
__global__ void __launch_bounds__(kThreads, 2) prefill_kernel(PrefillArguments args) {
  SLUICE_DYNAMIC_SHARED(std::byte, shared);
  if (static_cast<int>(blockIdx.y) >= *args.list.count) return;
  prefill_one<Stored, D>(args, args.list.works[blockIdx.y], static_cast<int>(blockIdx.x), shared);
}

template <class Stored, int D>
void launch_prefill(const PrefillArguments& args, Stream stream) {
  launch(prefill_kernel<Stored, D>,
         {dim3(static_cast<unsigned>(args.arrays.cache.kv_heads), static_cast<unsigned>(args.list.blocks)),
          dim3(kThreads), PrefillShared<Stored, D>::kBytes, stream},
         args);
}

}  // namespace

void attention_prefill(const AttentionArrays& arrays, const AttentionShape& shape, const PrefillList& list,
                       Stream stream) {
  const PrefillArguments args{.arrays = arrays,
                              .list = list,
                              .group = shape.query_heads / shape.kv_heads,
                              .sliding_window = shape.sliding_window,
                              .scale = shape.scale * kLog2E};
  for_cache(arrays.cache, [&]<class Stored, int D>() { launch_prefill<Stored, D>(args, stream); });
}

}  // namespace sluice::cuda
