// Decode attention: out[t] = softmax(scale * q[t] . K) V for sequences with few new tokens, over a context
// that is read once. A block takes one work of the list for one kv head: a split of a sequence's keys. The
// H / K query heads of the kv head, times the new tokens, are the 16 rows of mma.m16n8k16.
//
// Each of the block's four warps takes every fourth slice of 16 keys and streams keys and values through a
// ring of stages of its own (cp.async, 16 bytes a lane, whole pages of memory in a row): no block barrier in
// the loop, and 2 to 3 stages of 4 to 16 KB in flight for each warp. Scores, weights and sums stay in
// registers. Then the warps' results meet in shared memory, where the rings were; those of several splits in
// global memory, and the last block to come merges them, always in the order of the splits.
//
// Bytes: 2 D (keys and values) numbers of the cache for each key and kv head, and 4 D H / K bytes of sums for
// each split beyond the first. Flops are 4 D * 16 for each, a tenth of what the matrix units do meanwhile.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.h"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr int kRows = 16;

template <class Stored, int D>
struct DecodeShared {
  using OneSlice = Slice<Stored, D>;
  static constexpr int kAffordable = (25 << 10) / OneSlice::kBytes;
  static constexpr int kStages = kAffordable < 2 ? 2 : kAffordable > 4 ? 4 : kAffordable;
  static constexpr int kRingBytes = kStages * OneSlice::kBytes;  // of each warp
  // Afterwards there lie a warp's sums [16][kSumStride] and, for each row, its peak and its total. Rows are
  // 8 words further on in the banks, so that lanes which store pairs of words do not meet.
  static constexpr int kSumStride = D + 8;
  static constexpr int kPeaksAt = kRows * kSumStride * 4;
  static_assert(kPeaksAt + kRows * 8 <= kRingBytes);
  static constexpr int kQueriesAt = kWarps * kRingBytes;
  static constexpr int kBytes = kQueriesAt + kRows * QueryRows<Stored, D>::kRowBytes;
};

// A warp's way through the slices of a split: slices i with i % kWarps == warp, whatever the split, so that
// a row's result depends on where keys are in its context and nothing else.
template <class Stored, int D>
struct SliceStream {
  using Room = DecodeShared<Stored, D>;
  using OneSlice = Slice<Stored, D>;

  const PagedCache& cache;
  const int32_t* table;
  std::byte* ring;
  int kv_head, lane;
  int first, end, end_key;  // slices; keys
  int block = 0, row = 0;   // of slice n - n % 32 + lane

  __device__ __forceinline__ int count() const {
    return first < end ? (end - first + kWarps - 1) / kWarps : 0;
  }
  __device__ __forceinline__ int key_of(int n) const { return (first + n * kWarps) * kSliceKeys; }
  __device__ __forceinline__ std::byte* stage_of(int n) const {
    return ring + n % Room::kStages * OneSlice::kBytes;
  }
  // Begins the copy of the n-th slice, if there is one. Of consecutive n.
  __device__ __forceinline__ void begin_copy(int n) {
    if (n < count()) {
      if (n % kWarp == 0) {  // 32 entries of the table at once
        const int per_block = cache.block_tokens / kSliceKeys;
        const int slice = first + (n + lane) * kWarps;
        block = slice < end ? table[slice / per_block] : 0;
        row = slice % per_block * kSliceKeys;
      }
      const int its_block = __shfl_sync(~0U, block, n % kWarp), its_row = __shfl_sync(~0U, row, n % kWarp);
      OneSlice::template copy<kWarp>(stage_of(n), cache,
                                     place_of<Stored, D>(cache, its_block, kv_head, its_row), lane,
                                     end_key - key_of(n));
    }
    copy_async_commit();
  }
};

struct Peak {  // in powers of 2
  float largest, total;
};

struct DecodeArguments {
  AttentionArrays arrays;
  DecodeList list;
  DecodeRoom room;
  int group = 1, sliding_window = 0;
  float scale = 1;  // on scores, for powers of 2
};

__device__ __forceinline__ float4 scaled(const float4& v, float by) {
  return make_float4(v.x * by, v.y * by, v.z * by, v.w * by);
}
__device__ __forceinline__ void add_scaled(float4& to, const float4& v, float by) {
  to.x += v.x * by;
  to.y += v.y * by;
  to.z += v.z * by;
  to.w += v.w * by;
}

// Columns [column, column + 4) of a query row.
__device__ __forceinline__ void store_output(const DecodeArguments& args, const DecodeWork& work, int kv_head,
                                             int head_size, int row, int column, const float4& v) {
  const int token = row / args.group, head = kv_head * args.group + row % args.group;
  bf16* const to = args.arrays.out + (work.first_token + token) * args.arrays.out_stride +
                   static_cast<int64_t>(head) * head_size + column;
  *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
}

// One split's slices: scores, weights, sums, by one warp.
template <class Stored, int D>
__device__ __forceinline__ void stream_slices(SliceStream<Stored, D>& stream, const std::byte* queries,
                                              const DecodeArguments& args, const DecodeWork& work,
                                              RowState& state, float (&sums)[D / 8][4]) {
  using OneSlice = Slice<Stored, D>;
  using Queries = QueryRows<Stored, D>;
  constexpr int kSteps = D / 16;
  // Registers hold the queries where there is room beside the sums.
  constexpr bool kHeld = D <= 128;
  const int lane = stream.lane, g = lane / 4, t = lane % 4;
  uint32_t held[kHeld ? kSteps : 1][4];
  if constexpr (kHeld) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) Queries::load(held[step], queries, step, lane);
  }
  const int before = work.context - work.tokens, last_token = work.tokens - 1;
  const Visible rows[2] = {Visible::at(before + min(g / args.group, last_token), args.sliding_window),
                           Visible::at(before + min((g + 8) / args.group, last_token), args.sliding_window)};
  // Keys that all rows see.
  const int all_first = Visible::at(work.context - 1, args.sliding_window).first, all_last = before;

  const int count = stream.count();
  for (int n = 0; n < count; ++n) {
    SLUICE_COPY_ASYNC_WAIT_WARP((DecodeShared<Stored, D>::kStages - 1));
    const std::byte* const slice = stream.stage_of(n);
    float scores[2][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t keys[2][2], loaded[4];
      OneSlice::load_keys(keys, slice, step, lane);
      if constexpr (!kHeld) Queries::load(loaded, queries, step, lane);
      const uint32_t(&query)[4] = kHeld ? held[kHeld ? step : 0] : loaded;
      Format<Stored>::multiply(scores[0], query, keys[0]);
      Format<Stored>::multiply(scores[1], query, keys[1]);
    }
    if constexpr (OneSlice::kScaled) scale_columns(scores[0], scores[1], OneSlice::key_scales(slice, t));
    const int first_key = stream.key_of(n);
    if (first_key < all_first || first_key + kSliceKeys - 1 > all_last)
      hide<Stored, D>(scores[0], scores[1], first_key, rows, t);
    weigh(scores, args.scale, state, sums);
    uint32_t weights[4];
    pack_weights<Stored, D>(weights, scores[0], scores[1], slice, t);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t values[2][2];
      OneSlice::load_values(values, slice, step, lane);
      Format<Stored>::multiply(sums[2 * step], weights, values[0]);
      Format<Stored>::multiply(sums[2 * step + 1], weights, values[1]);
    }
    stream.begin_copy(n + DecodeShared<Stored, D>::kStages);
  }
}

// The splits of a sequence and kv head, in their order, by the whole block. `peaks` in shared memory: one for
// each row.
template <class Stored, int D>
__device__ __forceinline__ void merge_splits(const DecodeArguments& args, const DecodeWork& work, int kv_head,
                                             int rows, Peak* peaks) {
  const int kv_heads = args.arrays.cache.kv_heads, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t apart = static_cast<int64_t>(kv_heads) * rows;  // rows from a split to the next
  const int64_t first_row = work.partial_row + static_cast<int64_t>(kv_head) * rows;
  const auto peak_at = [&](int64_t row) {
    const float2 both = __ldcg(reinterpret_cast<const float2*>(args.room.peaks) + row);
    return Peak{both.x, both.y};
  };
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < rows; row += kWarps) {
    float largest = -INFINITY, total = 0;
    for (int s = lane; s < work.splits; s += kWarp)
      largest = max(largest, peak_at(first_row + s * apart + row).largest);
    largest = warp_max(largest);
    for (int s = lane; s < work.splits; s += kWarp) {
      const Peak peak = peak_at(first_row + s * apart + row);
      total += peak.total * fast_exp2(peak.largest - largest);
    }
    total = warp_sum(total);
    if (lane == 0) peaks[row] = {largest, total};
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rows * (D / 4); i += kThreads) {
    const int row = i / (D / 4), column = i % (D / 4) * 4;
    const float largest = peaks[row].largest;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (int s = 0; s < work.splits; ++s) {
      const int64_t at = first_row + s * apart + row;
      const float4 part = __ldcg(reinterpret_cast<const float4*>(args.room.sums + at * D + column));
      add_scaled(sum, part, fast_exp2(peak_at(at).largest - largest));
    }
    store_output(args, work, kv_head, D, row, column, scaled(sum, 1 / (peaks[row].total * kLift<Stored>)));
  }
}

template <class Stored, int D>
__device__ __forceinline__ void decode_one(const DecodeArguments& args, const DecodeWork& work, int kv_head,
                                           std::byte* shared) {
  using Room = DecodeShared<Stored, D>;
  const AttentionArrays& arrays = args.arrays;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int rows = work.tokens * args.group;

  // The smallest slice of this split that is the warp's.
  const int first_slice = work.first_key / kSliceKeys;
  SliceStream<Stored, D> stream{.cache = arrays.cache,
                                .table = arrays.block_table + work.sequence * arrays.block_table_stride,
                                .ring = shared + warp * Room::kRingBytes,
                                .kv_head = kv_head,
                                .lane = lane,
                                .first = first_slice + (warp - first_slice % kWarps + kWarps) % kWarps,
                                .end = (work.end_key + kSliceKeys - 1) / kSliceKeys,
                                .end_key = work.end_key};
  for (int n = 0; n < Room::kStages; ++n) stream.begin_copy(n);

  std::byte* const queries = shared + Room::kQueriesAt;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * (D / 16); i += kThreads) {
    const int row = i / (D / 16), step = i % (D / 16);
    const int token = row / args.group, head = kv_head * args.group + row % args.group;
    const bf16* const from = arrays.qkv + (work.first_token + token) * arrays.qkv_stride +
                             static_cast<int64_t>(head) * D + step * 16;
    QueryRows<Stored, D>::store(queries, row, step, row < rows ? from : nullptr);
  }
  __syncthreads();

  RowState state;
  float sums[D / 8][4] = {};
  stream_slices<Stored, D>(stream, queries, args, work, state, sums);

  // The warps' results meet. Each writes where its own ring was.
  const int g = lane / 4, t = lane % 4;
  auto* const own_sums = reinterpret_cast<float*>(stream.ring);
  auto* const own_peaks = reinterpret_cast<Peak*>(stream.ring + Room::kPeaksAt);
  for (int half = 0; half < 2; ++half) {
    const int row = g + 8 * half;
    const float total = row_total(state.total[half]);
    if (row >= rows) continue;
    if (t == 0) own_peaks[row] = {state.largest[half] * args.scale, total};
    for (int i = 0; i < D / 8; ++i) {
      *reinterpret_cast<float2*>(own_sums + row * Room::kSumStride + 8 * i + 2 * t) =
          make_float2(sums[i][2 * half], sums[i][2 * half + 1]);
    }
  }
  __syncthreads();
  const int64_t partial_row =
      work.partial_row + (static_cast<int64_t>(work.split) * arrays.cache.kv_heads + kv_head) * rows;
  for (int i = static_cast<int>(threadIdx.x); i < rows * (D / 4); i += kThreads) {
    const int row = i / (D / 4), column = i % (D / 4) * 4;
    float largest = -INFINITY, total = 0;
    for (int w = 0; w < kWarps; ++w) {
      const auto* const peaks = reinterpret_cast<const Peak*>(shared + w * Room::kRingBytes + Room::kPeaksAt);
      largest = max(largest, peaks[row].largest);
    }
    float4 sum = make_float4(0, 0, 0, 0);
    for (int w = 0; w < kWarps; ++w) {
      const std::byte* const ring = shared + w * Room::kRingBytes;
      const Peak peak = reinterpret_cast<const Peak*>(ring + Room::kPeaksAt)[row];
      const float factor = fast_exp2(peak.largest - reference_of(largest));
      total += peak.total * factor;
      add_scaled(sum,
                 *reinterpret_cast<const float4*>(reinterpret_cast<const float*>(ring) +
                                                  row * Room::kSumStride + column),
                 factor);
    }
    if (work.splits == 1) {
      store_output(args, work, kv_head, D, row, column, scaled(sum, 1 / (total * kLift<Stored>)));
    } else {
      *reinterpret_cast<float4*>(args.room.sums + (partial_row + row) * D + column) = sum;
      if (column == 0)
        reinterpret_cast<float2*>(args.room.peaks)[partial_row + row] = make_float2(largest, total);
    }
  }
  if (work.splits == 1) return;

  // The last of the sequence's blocks merges. It says so where the first warp's first peak was.
  __threadfence();
  __syncthreads();
  auto* const is_last = reinterpret_cast<int*>(shared + Room::kPeaksAt);
  if (threadIdx.x == 0) {
    int32_t* const counter =
        args.room.counters + static_cast<int64_t>(work.sequence) * arrays.cache.kv_heads + kv_head;
    *is_last = atomicAdd(counter, 1) == work.splits - 1 ? 1 : 0;
    if (*is_last != 0) *counter = 0;  // for the next launch
  }
  __syncthreads();
  if (*is_last == 0) return;
  __threadfence();
  merge_splits<Stored, D>(args, work, kv_head, rows,
                          reinterpret_cast<Peak*>(shared + Room::kRingBytes + Room::kPeaksAt));
}

template <class Stored, int D>
__global__ void __launch_bounds__(kThreads) decode_kernel(DecodeArguments args) {
  SLUICE_DYNAMIC_SHARED(std::byte, shared);
  const int count = *args.list.count;
  for (int i = static_cast<int>(blockIdx.y); i < count; i += static_cast<int>(gridDim.y)) {
    if (i != static_cast<int>(blockIdx.y)) __syncthreads();  // the shared memory is free again
    decode_one<Stored, D>(args, args.list.works[i], static_cast<int>(blockIdx.x), shared);
  }
}

template <class Stored, int D>
void launch_decode(const DecodeArguments& args, Stream stream) {
  launch(decode_kernel<Stored, D>,
         {dim3(static_cast<unsigned>(args.arrays.cache.kv_heads), static_cast<unsigned>(args.list.blocks)),
          dim3(kThreads), DecodeShared<Stored, D>::kBytes, stream},
         args);
}

}  // namespace

void attention_decode(const AttentionArrays& arrays, const AttentionShape& shape, const DecodeList& list,
                      const DecodeRoom& room, Stream stream) {
  const DecodeArguments args{.arrays = arrays,
                             .list = list,
                             .room = room,
                             .group = shape.query_heads / shape.kv_heads,
                             .sliding_window = shape.sliding_window,
                             .scale = shape.scale * kLog2E};
  for_cache(arrays.cache, [&]<class Stored, int D>() { launch_decode<Stored, D>(args, stream); });
}

}  // namespace sluice::cuda
