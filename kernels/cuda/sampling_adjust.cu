// The first pass over rows of logits: what is asked of the raw ones, then mask, bias and penalties, then the
// most likely token.
//
// A block takes a slice of 8192 logits of a row, 16 in each of 512 threads, by loads of 16 bytes. What the
// lists of tokens change is looked up in shared memory, two words for each logit of the slice: every block of
// a row goes through the row's lists and counts the tokens of its own slice, so that nothing need be cleared
// or sorted, however long the lists are. Bytes: 4 V; with lists of N tokens 4 N for each slice (from the L2
// cache: 512 KB of tokens is the longest context); 4 V written where a drawn row has changed.
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/sampling_device.h"

namespace sluice::cuda::sampling {
namespace {

struct AdjustRoom {
  float logits[kSlice];    // where there are lists
  uint32_t known[kSlice];  // of each token, from the lists
  u64 tops[2][kWarps];
  u64 best[kWarps];
  float smallest[kWarps], raw_largest[kWarps], raw_sum[kWarps];
  int larger[kWarps];
};

// What is known of a token: how often it was put out, and this.
constexpr uint32_t kInPrompt = 1U << 31U, kBanned = 1U << 30U, kCount = kBanned - 1;

// Calls `with(index, token)` for the block's share of a list; tokens of other slices are left out. `tokens`
// is aligned to 16 bytes, and whole groups of four may be read.
template <class With>
__device__ __forceinline__ void for_tokens(const uint32_t* tokens, int count, int slice, const With& with) {
  for (int i = static_cast<int>(threadIdx.x) * 4; i < count; i += kThreads * 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(tokens + i);
    const uint32_t each[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (i + k < count && each[k] / kSlice == static_cast<uint32_t>(slice))
        with(i + k, static_cast<int>(each[k] % kSlice));
    }
  }
}

// Of those whose bits of `taken` are not set.
__device__ __forceinline__ u64 best_of(const Logits& l, int slice, uint32_t taken) {
  float best = -INFINITY;
  int at = -1;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const bool better = (taken >> (4 * g + k) & 1U) == 0 && (at < 0 || l.v[g][k] > best);
      best = better ? l.v[g][k] : best;
      at = better ? 4 * g + k : at;
    }
  }
  return at < 0 ? kNothing : ranked(best, place_of(slice, at / 4) + at % 4);
}

// The slice's `count` most likely: each round the block finds the best of what is left.
__device__ __forceinline__ void take_tops(const Logits& l, int slice, int count, u64 (&room)[2][kWarps],
                                          u64* tops) {
  uint32_t taken = 0;
  u64 own = best_of(l, slice, taken), of_warp = over_warp<TakeSmaller>(own);
  for (int i = 0; i < count; ++i) {
    u64* const round = room[i % 2];
    if (lane_index() == 0) round[warp_index()] = of_warp;
    __syncthreads();
    u64 best = round[0];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) best = TakeSmaller()(best, round[w]);
    if (threadIdx.x == 0) tops[i] = best;
    if (own == best && best != kNothing) {
      const int within = id_of(best) - slice * kSlice;
      taken |= 1U << (within / kGroupStep * 4 + within % 4);
      own = best_of(l, slice, taken);
    }
    if (of_warp == best) of_warp = over_warp<TakeSmaller>(own);
  }
}

__device__ __forceinline__ void report_raw(const Logits& l, AdjustRoom& room, Partial& out) {
  float largest = -INFINITY;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
#pragma unroll
    for (int k = 0; k < 4; ++k) largest = max(largest, l.v[g][k]);
  }
  largest = over_block<TakeLarger>(largest, room.raw_largest);
  float sum = 0;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += l.v[g][k] > -INFINITY ? __expf(l.v[g][k] - largest) : 0.0F;
  }
  sum = over_block<TakeSum>(sum, room.raw_sum);
  if (threadIdx.x == 0) out.raw_largest = largest, out.raw_sum = sum;
}

// Where a thread's own logits of a group are in the room.
__device__ __forceinline__ int own_slots(int group) {
  return group * kGroupStep + static_cast<int>(threadIdx.x) * 4;
}

__device__ __forceinline__ float penalised_logit(const DeviceSamplingRow& row, float logit, uint32_t known) {
  if ((known & kBanned) != 0) return -INFINITY;
  if (known == 0) return logit;
  logit = logit > 0 ? logit / row.repetition_penalty : __fmul_rn(logit, row.repetition_penalty);
  const uint32_t count = known & kCount;
  if (count == 0) return logit;
  return logit - __fadd_rn(row.presence_penalty, __fmul_rn(row.frequency_penalty, static_cast<float>(count)));
}

// Keeps the raw logits of listed tokens where the row asks for it; bans, adds the bias, then penalises. (What
// is banned stays so under the other two.)
__device__ __forceinline__ void apply_lists(const Job& job, const DeviceSamplingRow& row, int slice,
                                            AdjustRoom& room, Logits& l) {
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int own = own_slots(g);
    *reinterpret_cast<float4*>(room.logits + own) = make_float4(l.v[g][0], l.v[g][1], l.v[g][2], l.v[g][3]);
    *reinterpret_cast<uint4*>(room.known + own) = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  const int penalised = row.output_count + row.prompt_count;
  float* const listed = row.listed >= 0 ? job.scratch.listed + row.listed : nullptr;
  for_tokens(job.words() + row.penalised_word, penalised, slice, [&](int index, int within) {
    if (listed != nullptr) listed[index] = room.logits[within];
    if (index < row.output_count)
      atomicAdd(&room.known[within], 1U);
    else
      atomicOr(&room.known[within], kInPrompt);
  });
  for_tokens(job.words() + row.banned_word, row.banned_count, slice,
             [&](int, int within) { atomicOr(&room.known[within], kBanned); });
  if (row.bias_count > 0) {
    if (listed != nullptr) __syncthreads();  // a biased token may be penalised too
    const auto* const pairs = reinterpret_cast<const uint2*>(job.words() + row.bias_word);
    for (int i = threadIdx.x; i < row.bias_count; i += kThreads) {
      const uint2 pair = pairs[i];
      if (pair.x / kSlice != static_cast<uint32_t>(slice)) continue;
      float& logit = room.logits[pair.x % kSlice];
      if (listed != nullptr) listed[penalised + i] = logit;
      logit = __fadd_rn(logit, __uint_as_float(pair.y));
    }
  }
  __syncthreads();
#pragma unroll 1  // the division is long
  for (int i = 0; i < kSlice / kThreads; ++i) {
    const int own = own_slots(i / 4) + i % 4;
    room.logits[own] = penalised_logit(row, room.logits[own], room.known[own]);
  }
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const float4 four = *reinterpret_cast<const float4*>(room.logits + own_slots(g));
    l.v[g][0] = four.x, l.v[g][1] = four.y, l.v[g][2] = four.z, l.v[g][3] = four.w;
  }
}

__device__ __forceinline__ void apply_mask(const uint32_t* mask, int slice, int vocabulary, Logits& l) {
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int at = place_of(slice, g);
    const uint32_t allowed = at < vocabulary ? mask[at / 32] >> (at % 32) : 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if ((allowed >> k & 1U) == 0) l.v[g][k] = -INFINITY;
    }
  }
}

__device__ __forceinline__ void write_back(const Job& job, int r, int slice, const Logits& l) {
  float* const row = job.logits(r);
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int at = place_of(slice, g), left = job.step.vocabulary - at;
    if (job.wide && left >= 4) {
      *reinterpret_cast<float4*>(row + at) = make_float4(l.v[g][0], l.v[g][1], l.v[g][2], l.v[g][3]);
    } else {
      for (int k = 0; k < 4 && k < left; ++k) row[at + k] = l.v[g][k];
    }
  }
}

// Grid (slices, rows).
__global__ void __launch_bounds__(kThreads, 2) adjust_kernel(Job job) {
  SLUICE_DYNAMIC_SHARED(AdjustRoom, room);
  const int slice = static_cast<int>(blockIdx.x), r = static_cast<int>(blockIdx.y);
  const DeviceSamplingRow& row = job.row(r);
  Partial& out = job.scratch.partials[r * job.slices + slice];
  Logits l = load_slice(job, r, slice);
  if (threadIdx.x == 0) out.raw_first = l.v[0][0];
  if (row.logprobs >= 0) {
    report_raw(l, *room, out);
    u64* const tops = job.scratch.tops + (static_cast<int64_t>(r) * job.slices + slice) * kMaxTopLogprobs;
    take_tops(l, slice, row.logprobs, room->tops, tops);
  }
  if (row.given >= 0) {
    const float own = job.logits(r)[row.given];
    int larger = 0;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) larger += l.v[g][k] > own ? 1 : 0;
    }
    larger = over_block<TakeSum>(larger, room->larger);
    if (threadIdx.x == 0) out.larger = larger;
    return;
  }

  if (has_lists(row)) apply_lists(job, row, slice, *room, l);
  if (row.mask_word != 0) apply_mask(job.words() + row.mask_word, slice, job.step.vocabulary, l);

  const u64 best = over_block<TakeSmaller>(best_of(l, slice, 0), room->best);
  if (threadIdx.x == 0) out.best = best;
  if (draws(row)) {
    float smallest = INFINITY;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) smallest = min(smallest, l.v[g][k] > -INFINITY ? l.v[g][k] : INFINITY);
    }
    smallest = over_block<TakeSmaller>(smallest, room->smallest);
    if (threadIdx.x == 0) out.smallest = smallest;
    if (has_lists(row) || row.mask_word != 0) write_back(job, r, slice, l);
    u64* const bins = job.scratch.bins + static_cast<int64_t>(r) * kBins;
    for (int i = slice * kThreads + static_cast<int>(threadIdx.x); i < kBins; i += job.slices * kThreads)
      bins[i] = 0;
    if (slice == 0 && threadIdx.x == 0) job.scratch.candidate_count[r] = 0;
  }
}

}  // namespace

void launch_adjust(const Job& job, Stream stream) {
  const dim3 blocks(static_cast<unsigned>(job.slices), static_cast<unsigned>(job.step.rows));
  launch(adjust_kernel, {blocks, dim3(kThreads), sizeof(AdjustRoom), stream}, job);
}

}  // namespace sluice::cuda::sampling
