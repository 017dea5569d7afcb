// What the kernels of sampling share: slices of a row, the order of tokens, weights as integers, and the
// ladder of bins that every restriction and the draw itself climb.
//
// The order is that of the reference: by logit, the larger first, of equals the lower id first. top_k, top_p
// and the draw each end at the first token in this order at which a running sum (of tokens, or of weights)
// passes a target. Logits below the largest fall into bins, by their distance: the sums over bins tell the
// bin, and the few tokens within it tell the token; nothing is sorted.
//
// Weights. A token's weight is e^-d, d = (largest - logit) / temperature. The bins are at most 1/64 wide in
// d, so that within bin b a weight is e^(-b width) times something between 63/64 and 1, of which 2^-25 are
// counted ("units"): exact to a float's rounding, and added in any order to the same sum. Beyond d = 32
// weights are nothing: all of them together stay below a float's rounding.
#pragma once

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/sampling.h"

namespace sluice::cuda::sampling {

using u64 = unsigned long long;  // as atomicAdd and shuffles have it

inline constexpr int kThreads = 512;
inline constexpr int kWarps = kThreads / kWarp;
inline constexpr int kGroups = 4;  // loads of four logits that a thread has under way
inline constexpr int kGroupStep = kThreads * 4;
inline constexpr int kSlice = kGroups * kGroupStep;  // logits of a row that a block takes at once
inline constexpr int kMaxSlices = kMaxVocabulary / kSlice;
inline constexpr int kBins = 2048;
inline constexpr int kOwnBins = kBins / kThreads;
inline constexpr int kCandidates = 1024;  // tokens of the bins in question; where more, the row is searched
inline constexpr unsigned kTooMany = ~0U;
inline constexpr float kLargestFinite = 3.402823466e+38F;

// Of one slice of one row.
struct Partial {
  u64 best;                    // of the adjusted logits, as `ranked`
  float smallest;              // finite one of the adjusted logits
  float raw_largest, raw_sum;  // with logprobs: sum of e^(logit - raw_largest)
  float raw_first;             // the first logit
  int larger;                  // with given: logits larger than its
};

struct Candidate {
  float logit;
  int id;
};

// The scratch, by row: see layout().
struct Scratch {
  Partial* partials;          // [rows, slices]
  u64* tops;                  // [rows, slices, kMaxTopLogprobs] as `ranked`: the slice's most likely, raw
  u64* bins;                  // [rows, kBins]: tokens << kCountShift | what they lack of whole units
  Candidate* candidates;      // [rows, kCandidates]
  unsigned* candidate_count;  // [rows], or kTooMany
  float* listed;              // [listed] raw logits of penalised and biased tokens, where they are asked for
};
inline constexpr int kCountShift = 40;

inline __host__ __device__ int slices_of(int vocabulary) {
  return (vocabulary + kSlice - 1) / kSlice;
}

struct Job {
  Sampling step;
  Scratch scratch;
  int slices;
  bool wide;  // rows begin at multiples of 16 bytes

  __device__ __forceinline__ const DeviceSamplingRow& row(int r) const {
    return reinterpret_cast<const DeviceSamplingRow*>(step.packed)[r];
  }
  __device__ __forceinline__ const uint32_t* words() const {
    return reinterpret_cast<const uint32_t*>(step.packed);
  }
  __device__ __forceinline__ float* logits(int r) const { return step.logits + r * step.stride; }
};

void launch_adjust(const Job& job, Stream stream);
void launch_weigh_and_collect(const Job& job, Stream stream);
void launch_choose(const Job& job, Stream stream);

// ---- rows ----

__device__ __forceinline__ bool draws(const DeviceSamplingRow& row) {
  return row.given < 0 && row.temperature >= 1e-5F;
}
__device__ __forceinline__ bool has_lists(const DeviceSamplingRow& row) {
  return row.output_count + row.prompt_count + row.banned_count + row.bias_count > 0;
}

// A logit that is no number counts as one that never comes.
__device__ __forceinline__ float sane(float logit) {
  return logit == logit ? logit : -INFINITY;
}

// A thread's logits of a slice: group g holds four from `place_of` on. Behind the row: never.
struct Logits {
  float v[kGroups][4];
};
__device__ __forceinline__ int place_of(int slice, int group) {
  return slice * kSlice + group * kGroupStep + static_cast<int>(threadIdx.x) * 4;
}
__device__ __forceinline__ Logits load_slice(const Job& job, int r, int slice) {
  const float* const row = job.logits(r);
  Logits l;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int at = place_of(slice, g), left = job.step.vocabulary - at;
    if (job.wide && left >= 4) {
      const float4 four = *reinterpret_cast<const float4*>(row + at);
      l.v[g][0] = four.x, l.v[g][1] = four.y, l.v[g][2] = four.z, l.v[g][3] = four.w;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) l.v[g][k] = k < left ? row[at + k] : -INFINITY;
    }
  }
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
#pragma unroll
    for (int k = 0; k < 4; ++k) l.v[g][k] = sane(l.v[g][k]);
  }
  return l;
}

// ---- the order of tokens: the smaller `ranked`, the likelier; no two tokens have the same ----

inline constexpr int kIdBits = 20;
inline constexpr u64 kNothing = ~u64{0};

__device__ __forceinline__ u64 ranked(float logit, int id) {
  const uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0F));  // -0 and 0 are equal
  const uint32_t ascending = (bits >> 31U) != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<u64>(~ascending) << kIdBits | static_cast<u64>(id);
}
__device__ __forceinline__ int id_of(u64 rank) {
  return static_cast<int>(rank & ((u64{1} << kIdBits) - 1));
}
__device__ __forceinline__ float logit_of(u64 rank) {
  const uint32_t ascending = ~static_cast<uint32_t>(rank >> kIdBits);
  return __uint_as_float((ascending >> 31U) != 0 ? ascending & 0x7fffffffU : ~ascending);
}

// ---- over a warp and a block ----

struct TakeSum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct TakeSmaller {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct TakeLarger {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

template <class Take, class T>
__device__ __forceinline__ T over_warp(T v) {
#pragma unroll
  for (int bits = kWarp / 2; bits > 0; bits /= 2) v = Take()(v, __shfl_xor_sync(~0U, v, bits));
  return v;
}

__device__ __forceinline__ int lane_index() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
__device__ __forceinline__ int warp_index() {
  return static_cast<int>(threadIdx.x) / kWarp;
}

// `room`: a value a warp, for this one use.
template <class Take, class T>
__device__ __forceinline__ T over_block(T v, T* room) {
  v = over_warp<Take>(v);
  if (lane_index() == 0) room[warp_index()] = v;
  __syncthreads();
  T all = room[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) all = Take()(all, room[w]);
  return all;
}

// The sum over the threads before this one. `room` likewise.
template <class T>
__device__ __forceinline__ T sum_before(T own, T* room) {
  T through = own;
#pragma unroll
  for (unsigned step = 1; step < kWarp; step *= 2) {
    const T below = __shfl_up_sync(~0U, through, step);
    if (lane_index() >= static_cast<int>(step)) through += below;
  }
  if (lane_index() == kWarp - 1) room[warp_index()] = through;
  __syncthreads();
  T before = through - own;
  for (int w = 0; w < warp_index(); ++w) before += room[w];
  return before;
}

// ---- weights ----

inline constexpr float kBinsPerNat = 64;
inline constexpr float kUnits = 1 << 25;   // of a weight at the upper end of its bin
inline constexpr double kFixed = 1 << 19;  // weights are summed in units of 2^-44 of the largest

struct Place {
  int bin;        // < 0: never drawn
  unsigned lack;  // units below the bin's upper end
};

// Where a row's logits fall. Every step is rounded by itself, so that all kernels agree to the last bit.
struct Bins {
  float largest, bins_per_logit, nats_per_bin;
  float limit;  // how far below the largest min_p lets logits be

  __device__ __forceinline__ Place place(float logit) const {
    const float gap = largest - logit;
    if (!(gap <= limit)) return {-1, 0};
    const float position = __fmul_rn(gap, bins_per_logit);
    if (!(position < static_cast<float>(kBins))) return {-1, 0};
    const int bin = static_cast<int>(position);
    // 1 - e^-x = x (1 - x/2 (1 - x/3 (1 - x/4))) to 2^-37, for x <= 1/63.
    const float x = __fmul_rn(position - static_cast<float>(bin), nats_per_bin);
    float lack = __fadd_rn(1.0F, __fmul_rn(x, -0.25F));
    lack = __fadd_rn(1.0F, -__fmul_rn(__fmul_rn(x, 1.0F / 3), lack));
    lack = __fadd_rn(1.0F, -__fmul_rn(__fmul_rn(x, 0.5F), lack));
    lack = __fmul_rn(x, lack);
    return {bin, static_cast<unsigned>(__fadd_rn(__fmul_rn(lack, kUnits), 0.5F))};
  }
  // Of a bin's upper end, over the largest weight.
  __device__ __forceinline__ double weight(int bin) const {
    return exp(-static_cast<double>(bin) * static_cast<double>(nats_per_bin));
  }
};

__device__ __forceinline__ u64 units_of(u64 count, u64 lack) {
  return (count << 25U) - lack;
}
// `units` of a bin of that weight. Grows with the units, so that prefixes of a bin are told apart by it.
__device__ __forceinline__ u64 fixed_weight(double bin_weight, u64 units) {
  return static_cast<u64>(bin_weight * static_cast<double>(units) * kFixed);
}

// Flat rows, whose logits all lie within 32 nats, get bins as narrow as all of them need.
__device__ __forceinline__ Bins bins_of(const DeviceSamplingRow& row, float largest, float smallest) {
  const float inverse = 1.0F / row.temperature, span = largest - smallest;
  float per_logit = kBinsPerNat * inverse;
  if (span * inverse < kBins / kBinsPerNat) per_logit = static_cast<float>(kBins - 1) / span;
  per_logit = min(max(per_logit, 1e-30F), 1e30F);
  Bins bins{largest, per_logit, inverse / per_logit, INFINITY};
  if (row.min_p > 0) {
    bins.limit =
        __fmul_rn(row.temperature, static_cast<float>(-log(static_cast<double>(min(row.min_p, 1.0F)))));
  }
  return bins;
}

struct RowFacts {
  u64 best;
  float smallest;
};
// From the slices' partial results; each warp for itself.
__device__ __forceinline__ RowFacts row_facts(const Job& job, int r) {
  RowFacts facts{kNothing, INFINITY};
  for (int s = lane_index(); s < job.slices; s += kWarp) {
    const Partial& partial = job.scratch.partials[r * job.slices + s];
    facts.best = TakeSmaller()(facts.best, partial.best);
    facts.smallest = min(facts.smallest, partial.smallest);
  }
  return {over_warp<TakeSmaller>(facts.best), over_warp<TakeSmaller>(facts.smallest)};
}

// ---- sums over bins ----

// Shared by a block. One slice's at a time, which 32 bits hold: 8192 times less than 2^19. By turns, so that
// one is emptied while the other is filled.
struct BinSums {
  struct OfSlice {
    unsigned counts[kBins], lacks[kBins];
  } turns[2];

  __device__ __forceinline__ void clear() {
    for (int i = threadIdx.x; i < kBins; i += kThreads) {
      turns[0].counts[i] = 0, turns[0].lacks[i] = 0;
      turns[1].counts[i] = 0, turns[1].lacks[i] = 0;
    }
  }
};
// A thread's own bins, kOwnBins side by side, over all slices.
struct OwnBins {
  u64 counts[kOwnBins] = {}, lacks[kOwnBins] = {};
};

// Adds what `bin_of(logit, id, lack)` tells (< 0: nothing) over slices first, first + step, … of a row. The
// sums are zero before, and after the next barrier.
template <class BinOf>
__device__ __forceinline__ OwnBins sum_over_bins(const Job& job, int r, int first, int step, BinSums& sums,
                                                 const BinOf& bin_of) {
  OwnBins own;
  int turn = 0;
  for (int slice = first; slice < job.slices; slice += step, turn ^= 1) {
    BinSums::OfSlice& now = sums.turns[turn];
    const Logits l = load_slice(job, r, slice);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        unsigned lack = 0;
        const int bin = bin_of(l.v[g][k], place_of(slice, g) + k, lack);
        if (bin < 0) continue;
        atomicAdd(&now.counts[bin], 1U);
        atomicAdd(&now.lacks[bin], lack);
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kOwnBins; ++i) {
      const int bin = static_cast<int>(threadIdx.x) * kOwnBins + i;
      own.counts[i] += now.counts[bin];
      own.lacks[i] += now.lacks[bin];
      now.counts[bin] = 0, now.lacks[bin] = 0;
    }
  }
  return own;
}

// What precedes each bin, and all: in tokens, and in weight (fixed, or units).
struct Ladder {
  unsigned counts[kBins + 1];
  u64 weights[kBins + 1];
  unsigned count_room[kWarps];
  u64 weight_room[kWarps];

  // From each thread's own bins; usable by all threads then.
  __device__ __forceinline__ void build(const unsigned (&own_counts)[kOwnBins],
                                        const u64 (&own_weights)[kOwnBins]) {
    unsigned count = 0;
    u64 weight = 0;
#pragma unroll
    for (int i = 0; i < kOwnBins; ++i) count += own_counts[i], weight += own_weights[i];
    count = sum_before(count, count_room);
    weight = sum_before(weight, weight_room);
    int bin = static_cast<int>(threadIdx.x) * kOwnBins;
#pragma unroll
    for (int i = 0; i < kOwnBins; ++i, ++bin) {
      counts[bin] = count, weights[bin] = weight;
      count += own_counts[i], weight += own_weights[i];
    }
    if (bin == kBins) counts[bin] = count, weights[bin] = weight;
    __syncthreads();
  }
  __device__ __forceinline__ unsigned count() const {
    return counts[kBins];
  }
  __device__ __forceinline__ u64 weight() const {
    return weights[kBins];
  }

  // The first bin whose end `passes`; the last one if none does.
  template <class Passes>
  __device__ __forceinline__ int first_bin(const Passes& passes) const {
    int low = 0, high = kBins - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (passes(middle + 1))
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }
  __device__ __forceinline__ int bin_past_count(unsigned target) const {
    return first_bin([&](int end) { return counts[end] > target; });
  }
  __device__ __forceinline__ int bin_past_weight(u64 target) const {
    return first_bin([&](int end) { return weights[end] > target; });
  }
  __device__ __forceinline__ unsigned count_in(int first, int last) const {
    return first > last ? 0 : counts[last + 1] - counts[first];
  }
};

// The row's ladder, from its bins in the scratch.
__device__ __forceinline__ void build_row_ladder(const Job& job, int r, const Bins& bins, Ladder& ladder) {
  unsigned counts[kOwnBins];
  u64 weights[kOwnBins];
#pragma unroll
  for (int i = 0; i < kOwnBins; ++i) {
    const int bin = static_cast<int>(threadIdx.x) * kOwnBins + i;
    const u64 sums = job.scratch.bins[static_cast<int64_t>(r) * kBins + bin];
    counts[i] = static_cast<unsigned>(sums >> kCountShift);
    weights[i] = fixed_weight(bins.weight(bin), units_of(counts[i], sums & ((u64{1} << kCountShift) - 1)));
  }
  ladder.build(counts, weights);
}

// ---- targets, of sums that the token in question is the first to pass ----

__device__ __forceinline__ bool restricts_count(const DeviceSamplingRow& row, const Ladder& ladder) {
  return row.top_k > 0 && static_cast<unsigned>(row.top_k) < ladder.count();
}
// The smallest set whose weight reaches this share of `total`; at least one token.
__device__ __forceinline__ u64 top_p_target(const DeviceSamplingRow& row, u64 total) {
  const double share = ceil(static_cast<double>(row.top_p) * static_cast<double>(total));
  if (!(share > 1)) return 0;
  return TakeSmaller()(static_cast<u64>(share), total) - 1;
}
__device__ __forceinline__ u64 draw_target(const DeviceSamplingRow& row, u64 total) {
  return TakeSmaller()(static_cast<u64>(row.uniform * static_cast<double>(total)), total - 1);
}

}  // namespace sluice::cuda::sampling
