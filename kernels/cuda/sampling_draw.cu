// From adjusted rows of logits to tokens, in three kernels of 512 threads a block:
//  weigh    goes through a drawn row and adds its weights up in 2048 bins (sampling_device.h). So many blocks
//  a
//           row that the device is full; sums are integers, so the split makes no difference.
//  collect  finds by the bins' sums in which bins top_k, top_p and the draw can end, and goes through the row
//           for their tokens: a few dozen as a rule.
//  choose   a block a row: finds the ends among those tokens, or, where they are too many (rows of equal
//           logits), in the row itself, digit by digit; reports. The whole of a greedy row's work.
// Bytes: 4 V each for weigh and collect. Shared atomics: two for each logit within 32 nats of the largest.
#include <algorithm>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/sampling_device.h"

namespace sluice::cuda::sampling {
namespace {

// ---- weigh ----

__global__ void __launch_bounds__(kThreads, 2) weigh_kernel(Job job) {
  const int r = static_cast<int>(blockIdx.y);
  const DeviceSamplingRow& row = job.row(r);
  if (!draws(row)) return;
  SLUICE_DYNAMIC_SHARED(BinSums, sums);
  const RowFacts facts = row_facts(job, r);
  const float largest = logit_of(facts.best);
  if (!(fabsf(largest) <= kLargestFinite)) return;
  const Bins bins = bins_of(row, largest, facts.smallest);
  sums->clear();
  __syncthreads();
  const OwnBins own = sum_over_bins(job, r, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x), *sums,
                                    [&](float logit, int, unsigned& lack) {
                                      const Place place = bins.place(logit);
                                      lack = place.lack;
                                      return place.bin;
                                    });
  u64* const to = job.scratch.bins + static_cast<int64_t>(r) * kBins + threadIdx.x * kOwnBins;
#pragma unroll
  for (int i = 0; i < kOwnBins; ++i) {
    if (own.counts[i] > 0) atomicAdd(to + i, own.counts[i] << kCountShift | own.lacks[i]);
  }
}

// ---- collect ----

// Bins [first, last]; empty where first > last.
struct BinRange {
  int first = 1, last = 0;
  __device__ __forceinline__ bool holds(int bin) const { return first <= bin && bin <= last; }
};
// Where the row's restrictions and its draw can end, by what the bins tell alone.
struct Ends {
  BinRange count, share, draw;

  __device__ __forceinline__ bool hold(int bin) const {
    return count.holds(bin) || share.holds(bin) || draw.holds(bin);
  }
};

__device__ __forceinline__ Ends possible_ends(const DeviceSamplingRow& row, const Ladder& ladder) {
  Ends ends;
  u64 least = ladder.weight(), most = least;  // what the weight of the tokens left is between
  if (restricts_count(row, ladder)) {
    const int bin = ladder.bin_past_count(static_cast<unsigned>(row.top_k) - 1);
    ends.count = {bin, bin};
    least = ladder.weights[bin], most = ladder.weights[bin + 1];
  }
  if (row.top_p < 1) {
    const u64 low = top_p_target(row, least), high = top_p_target(row, most);
    ends.share = {ladder.bin_past_weight(low), ladder.bin_past_weight(high)};
    least = low + 1, most = TakeSmaller()(most, ladder.weights[ends.share.last + 1]);
  }
  // With top_k = 1 nothing may be below: the least there can be is one.
  least = TakeLarger()(least, u64{1});
  ends.draw = {ladder.bin_past_weight(draw_target(row, least)),
               ladder.bin_past_weight(draw_target(row, most))};
  return ends;
}

// No bin counted twice.
__device__ __forceinline__ unsigned candidates_of(const Ends& ends, const Ladder& ladder) {
  unsigned count = ladder.count_in(ends.draw.first, ends.draw.last);
  if (!ends.draw.holds(ends.count.first)) count += ladder.count_in(ends.count.first, ends.count.last);
  for (int bin = ends.share.first; bin <= ends.share.last; ++bin) {
    if (!ends.draw.holds(bin) && !ends.count.holds(bin)) count += ladder.count_in(bin, bin);
  }
  return count;
}

__global__ void __launch_bounds__(kThreads, 2) collect_kernel(Job job) {
  const int r = static_cast<int>(blockIdx.y);
  const DeviceSamplingRow& row = job.row(r);
  if (!draws(row)) return;
  SLUICE_DYNAMIC_SHARED(Ladder, ladder);
  const RowFacts facts = row_facts(job, r);
  const float largest = logit_of(facts.best);
  if (!(fabsf(largest) <= kLargestFinite)) return;
  const Bins bins = bins_of(row, largest, facts.smallest);
  build_row_ladder(job, r, bins, *ladder);
  const Ends ends = possible_ends(row, *ladder);
  unsigned* const count = job.scratch.candidate_count + r;
  if (candidates_of(ends, *ladder) > kCandidates) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *count = kTooMany;
    return;
  }
  Candidate* const candidates = job.scratch.candidates + static_cast<int64_t>(r) * kCandidates;
  for (int slice = static_cast<int>(blockIdx.x); slice < job.slices; slice += static_cast<int>(gridDim.x)) {
    const Logits l = load_slice(job, r, slice);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int bin = bins.place(l.v[g][k]).bin;
        if (bin < 0 || !ends.hold(bin)) continue;
        const unsigned at = atomicAdd(count, 1U);
        if (at < kCandidates) candidates[at] = {l.v[g][k], place_of(slice, g) + k};
      }
    }
  }
}

// ---- choose ----

// The token at which a sum ended, and the units of its bin up to and with it.
struct Pick {
  int id;
  u64 units;
};

struct CandidateList {
  u64 ranks[kCandidates];
  unsigned units[kCandidates];
  int bins[kCandidates];
};

struct ChooseRoom {
  Ladder ladder;
  union {
    CandidateList list;
    struct {
      Ladder ladder;
      BinSums sums;
      u64 low[kWarps], high[kWarps];
    } search;
    u64 tops[kMaxSlices * kMaxTopLogprobs];
  };
  Pick picks[3];  // of top_k, top_p, the draw
  float raw;
};

// How a sum within a bin ends: when it passes `target`, in tokens or in weight.
struct Ending {
  int bin;
  bool by_count;
  u64 target;
  double bin_weight;

  __device__ __forceinline__ bool passed(u64 count, u64 units) const {
    return (by_count ? count : fixed_weight(bin_weight, units)) > target;
  }
};

// Finds ends among the collected tokens: each thread has two of them and knows what precedes them in their
// bins.
class AmongCandidates {
 public:
  __device__ __forceinline__ AmongCandidates(const Job& job, int r, const Bins& bins, unsigned count,
                                             ChooseRoom& room)
      : room_(room), count_(static_cast<int>(count)) {
    const Candidate* const from = job.scratch.candidates + static_cast<int64_t>(r) * kCandidates;
    CandidateList& list = room.list;
    for (int i = threadIdx.x; i < count_; i += kThreads) {
      const Candidate candidate = from[i];
      const Place place = bins.place(candidate.logit);
      list.ranks[i] = ranked(candidate.logit, candidate.id);
      list.units[i] = static_cast<unsigned>(units_of(1, place.lack));
      list.bins[i] = place.bin;
    }
    __syncthreads();
#pragma unroll
    for (int own = 0; own < kOwn; ++own) {
      const int i = own * kThreads + static_cast<int>(threadIdx.x);
      if (i >= count_) continue;
      for (int j = 0; j < count_; ++j) {
        if (list.bins[j] != list.bins[i] || list.ranks[j] >= list.ranks[i]) continue;
        ++counts_[own];
        units_[own] += list.units[j];
      }
    }
  }
  // Into room.picks[which].
  __device__ __forceinline__ void find(const Ending& ending, int which) {
    const CandidateList& list = room_.list;
#pragma unroll
    for (int own = 0; own < kOwn; ++own) {
      const int i = own * kThreads + static_cast<int>(threadIdx.x);
      if (i >= count_ || list.bins[i] != ending.bin) continue;
      const u64 units = units_[own] + list.units[i];
      if (ending.passed(counts_[own] + 1, units) && !ending.passed(counts_[own], units_[own]))
        room_.picks[which] = {id_of(list.ranks[i]), units};
    }
  }

 private:
  static constexpr int kOwn = kCandidates / kThreads;
  ChooseRoom& room_;
  const int count_;
  u64 counts_[kOwn] = {}, units_[kOwn] = {};
};

// Finds ends in the row itself. The tokens of the bin differ in some low bits of their `ranked`: these are
// searched from above, as many at a time as there are bins, each time through the whole row.
class InRow {
 public:
  __device__ __forceinline__ InRow(const Job& job, int r, const Bins& bins, ChooseRoom& room)
      : job_(job), r_(r), bins_(bins), room_(room) {}

  __device__ __forceinline__ void find(const Ending& ending, int which) {
    u64 low = kNothing, high = 0;
    for (int slice = 0; slice < job_.slices; ++slice) {
      const Logits l = load_slice(job_, r_, slice);
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (bins_.place(l.v[g][k]).bin != ending.bin) continue;
          const u64 rank = ranked(l.v[g][k], place_of(slice, g) + k);
          low = TakeSmaller()(low, rank), high = TakeLarger()(high, rank);
        }
      }
    }
    auto& search = room_.search;
    low = over_block<TakeSmaller>(low, search.low);
    high = over_block<TakeLarger>(high, search.high);
    constexpr int kDigitBits = 11;
    static_assert(1 << kDigitBits == kBins);
    int shift = low == high ? 0 : 64 - __clzll(static_cast<long long>(low ^ high));
    u64 prefix = low >> shift, count = 0, units = 0;  // of the tokens before those with the prefix
    u64 through = units_of(1, bins_.place(logit_of(low)).lack);
    search.sums.clear();
    __syncthreads();
    while (shift > 0) {
      const int bits = min(shift, kDigitBits), above = shift;
      shift -= bits;
      const OwnBins own =
          sum_over_bins(job_, r_, 0, 1, search.sums, [&](float logit, int id, unsigned& lack) {
            const Place place = bins_.place(logit);
            const u64 rank = ranked(logit, id);
            lack = place.lack;
            if (place.bin != ending.bin || rank >> above != prefix) return -1;
            return static_cast<int>(rank >> shift & ((u64{1} << bits) - 1));
          });
      unsigned own_counts[kOwnBins];
      u64 own_units[kOwnBins];
#pragma unroll
      for (int i = 0; i < kOwnBins; ++i) {
        own_counts[i] = static_cast<unsigned>(own.counts[i]);
        own_units[i] = units_of(own.counts[i], own.lacks[i]);
      }
      Ladder& ladder = search.ladder;
      ladder.build(own_counts, own_units);
      const int digit = ladder.first_bin(
          [&](int end) { return ending.passed(count + ladder.counts[end], units + ladder.weights[end]); });
      prefix = prefix << bits | static_cast<u64>(digit);
      through = units + ladder.weights[digit + 1];
      count += ladder.counts[digit], units += ladder.weights[digit];
    }
    if (threadIdx.x == 0) room_.picks[which] = {id_of(prefix), through};
  }

 private:
  const Job& job_;
  const int r_;
  const Bins& bins_;
  ChooseRoom& room_;
};

// The chosen token: what top_k leaves, of that what top_p leaves, of that the one drawn.
template <class Find>
__device__ __forceinline__ int climb(const DeviceSamplingRow& row, const Bins& bins, ChooseRoom& room,
                                     Find& tokens) {
  const Ladder& ladder = room.ladder;
  // The weight up to and with the token at which the sum passes the target.
  const auto end_at = [&](bool by_count, u64 target, int which) {
    const int bin =
        by_count ? ladder.bin_past_count(static_cast<unsigned>(target)) : ladder.bin_past_weight(target);
    const u64 before = by_count ? ladder.counts[bin] : ladder.weights[bin];
    const Ending ending{bin, by_count, target - before, bins.weight(bin)};
    tokens.find(ending, which);
    __syncthreads();
    return ladder.weights[bin] + fixed_weight(ending.bin_weight, room.picks[which].units);
  };
  u64 total = ladder.weight();
  if (restricts_count(row, ladder)) total = end_at(true, static_cast<u64>(row.top_k) - 1, 0);
  if (row.top_p < 1) total = end_at(false, top_p_target(row, total), 1);
  end_at(false, draw_target(row, total), 2);
  return room.picks[2].id;
}

__device__ __forceinline__ int draw(const Job& job, int r, const DeviceSamplingRow& row,
                                    const RowFacts& facts, ChooseRoom& room) {
  const Bins bins = bins_of(row, logit_of(facts.best), facts.smallest);
  build_row_ladder(job, r, bins, room.ladder);
  const unsigned count = job.scratch.candidate_count[r];
  if (count > kCandidates) {
    InRow tokens(job, r, bins, room);
    return climb(row, bins, room, tokens);
  }
  AmongCandidates tokens(job, r, bins, count, room);
  return climb(row, bins, room, tokens);
}

// The raw logit of the chosen token; where the row was overwritten, from what was kept.
__device__ __forceinline__ float raw_logit(const Job& job, int r, const DeviceSamplingRow& row,
                                           const RowFacts& facts, int id, ChooseRoom& room) {
  const bool overwritten = draws(row) && (has_lists(row) || row.mask_word != 0);
  if (overwritten && !(logit_of(facts.best) > -INFINITY))
    return job.scratch.partials[r * job.slices].raw_first;
  const float now = sane(job.logits(r)[id]);
  if (!overwritten || row.listed < 0) return now;
  if (threadIdx.x == 0) room.raw = now;
  __syncthreads();
  const int penalised = row.output_count + row.prompt_count;
  const float* const listed = job.scratch.listed + row.listed;
  const uint32_t* const tokens = job.words() + row.penalised_word;
  const uint32_t* const pairs = job.words() + row.bias_word;
  // A token may be listed more than once, with the same raw logit.
  for (int i = threadIdx.x; i < penalised; i += kThreads) {
    if (tokens[i] == static_cast<uint32_t>(id)) room.raw = listed[i];
  }
  for (int i = threadIdx.x; i < row.bias_count; i += kThreads) {
    if (pairs[2 * i] == static_cast<uint32_t>(id)) room.raw = listed[penalised + i];
  }
  __syncthreads();
  return room.raw;
}

// Of the raw logits: log of the sum of their exponentials. Each warp for itself.
__device__ __forceinline__ double raw_log_total(const Job& job, int r) {
  const Partial* const partials = job.scratch.partials + r * job.slices;
  float largest = -INFINITY;
  for (int s = lane_index(); s < job.slices; s += kWarp) largest = max(largest, partials[s].raw_largest);
  largest = over_warp<TakeLarger>(largest);
  double sum = 0;
  for (int s = lane_index(); s < job.slices; s += kWarp) {
    if (partials[s].raw_sum > 0) {
      sum += static_cast<double>(partials[s].raw_sum) *
             exp(static_cast<double>(partials[s].raw_largest) - static_cast<double>(largest));
    }
  }
  return log(over_warp<TakeSum>(sum)) + static_cast<double>(largest);
}

// The most likely of the slices' most likely: a token's place is the number of likelier ones.
__device__ __forceinline__ void report_tops(const Job& job, int r, int count, double log_total, u64* tops,
                                            SampledRow& out) {
  const int entries = job.slices * count;
  for (int i = threadIdx.x; i < entries; i += kThreads) {
    const int64_t at = (static_cast<int64_t>(r) * job.slices + i / count) * kMaxTopLogprobs + i % count;
    tops[i] = job.scratch.tops[at];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < entries; i += kThreads) {
    const u64 own = tops[i];
    int place = 0;
    for (int j = 0; j < entries; ++j) place += tops[j] < own ? 1 : 0;
    if (place >= min(count, job.step.vocabulary)) continue;
    out.top[place].id = id_of(own);
    out.top[place].logprob = static_cast<float>(static_cast<double>(logit_of(own)) - log_total);
  }
}

// Grid (rows).
__global__ void __launch_bounds__(kThreads, 1) choose_kernel(Job job) {
  SLUICE_DYNAMIC_SHARED(ChooseRoom, room);
  const int r = static_cast<int>(blockIdx.x);
  const DeviceSamplingRow& row = job.row(r);
  SampledRow& out = job.step.sampled[r];
  int id = row.given, rank = 0;
  RowFacts facts{};
  if (row.given >= 0) {
    for (int s = lane_index(); s < job.slices; s += kWarp)
      rank += job.scratch.partials[r * job.slices + s].larger;
    rank = 1 + over_warp<TakeSum>(rank);
  } else {
    facts = row_facts(job, r);
    id = id_of(facts.best);
    // Within the vocabulary, even if a bit has flipped somewhere: the next step reads an embedding by it.
    if (draws(row) && fabsf(logit_of(facts.best)) <= kLargestFinite)
      id = min(max(draw(job, r, row, facts, *room), 0), job.step.vocabulary - 1);
  }
  if (row.logprobs >= 0) {
    const double log_total = raw_log_total(job, r);
    const float raw = raw_logit(job, r, row, facts, id, *room);
    if (threadIdx.x == 0) out.logprob = static_cast<float>(static_cast<double>(raw) - log_total);
    if (row.logprobs > 0) report_tops(job, r, row.logprobs, log_total, room->tops, out);
  }
  if (threadIdx.x == 0) {
    job.step.ids[r] = id;
    out.id = id;
    out.rank = rank;
    out.top_count = min(max(row.logprobs, 0), job.step.vocabulary);
  }
}

}  // namespace

// Enough to fill any device twice over.
constexpr int kBlocksWanted = 264;

void launch_weigh_and_collect(const Job& job, Stream stream) {
  const int split = std::min(job.slices, std::max(1, kBlocksWanted / job.step.rows));
  const dim3 blocks(static_cast<unsigned>(split), static_cast<unsigned>(job.step.rows));
  launch(weigh_kernel, {blocks, dim3(kThreads), sizeof(BinSums), stream}, job);
  launch(collect_kernel, {blocks, dim3(kThreads), sizeof(Ladder), stream}, job);
}

void launch_choose(const Job& job, Stream stream) {
  const dim3 blocks(static_cast<unsigned>(job.step.rows));
  launch(choose_kernel, {blocks, dim3(kThreads), sizeof(ChooseRoom), stream}, job);
}

}  // namespace sluice::cuda::sampling

namespace sluice::cuda {
namespace {

// Hands out the scratch in pieces aligned to 256 bytes; without memory: measures.
class Pieces {
 public:
  explicit Pieces(std::byte* base) : base_(base) {}
  template <class T>
  T* take(size_t count) {
    constexpr size_t kAlignment = 256;
    T* const piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return piece;
  }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* const base_;
  size_t bytes_ = 0;
};

sampling::Scratch lay_out(Pieces& pieces, int rows, int vocabulary, size_t listed) {
  const auto r = static_cast<size_t>(rows), slices = static_cast<size_t>(sampling::slices_of(vocabulary));
  sampling::Scratch scratch{};
  scratch.partials = pieces.take<sampling::Partial>(r * slices);
  scratch.tops = pieces.take<sampling::u64>(r * slices * kMaxTopLogprobs);
  scratch.bins = pieces.take<sampling::u64>(r * sampling::kBins);
  scratch.candidates = pieces.take<sampling::Candidate>(r * sampling::kCandidates);
  scratch.candidate_count = pieces.take<unsigned>(r);
  scratch.listed = pieces.take<float>(listed);
  return scratch;
}

}  // namespace

size_t sampling_scratch_bytes(int rows, int vocabulary, size_t listed) {
  Pieces pieces(nullptr);
  lay_out(pieces, rows, vocabulary, listed);
  return pieces.bytes();
}

void sample(const Sampling& step, Stream stream) {
  if (step.rows == 0) return;
  Pieces pieces(step.scratch);
  sampling::Job job{step, lay_out(pieces, step.rows, step.vocabulary, 0),
                    sampling::slices_of(step.vocabulary),
                    step.stride % 4 == 0 && reinterpret_cast<uintptr_t>(step.logits) % 16 == 0};
  sampling::launch_adjust(job, stream);
  if (step.draws) sampling::launch_weigh_and_collect(job, stream);
  sampling::launch_choose(job, stream);
}

}  // namespace sluice::cuda
