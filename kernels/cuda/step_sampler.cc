#include "kernels/cuda/step_sampler.h"

#include "base/check.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/sampling_rows.h"

namespace sluice::cuda {

StepSampler::StepSampler(MemoryMoves& moves, Stream stream)
    : stream_(stream), asked_(moves), scratch_(moves), ids_(moves), sampled_(moves) {
  for (Flight& flight : flights_) flight.done = make_event();
}

StepSampler::~StepSampler() {
  for (Flight& flight : flights_) destroy_event(flight.done);
}

void StepSampler::sample(TensorView logits, std::span<const SamplingRow> rows, std::span<SampledToken> out) {
  SLUICE_CHECK_EQ(static_cast<int64_t>(rows.size()), logits.rows);
  SLUICE_CHECK_EQ(rows.size(), out.size());
  SLUICE_CHECK_LT(started_ - finished_, kInFlight);
  Flight& now = flight(started_++);
  now.rows = rows;
  now.out = out;
  if (!rows.empty()) {
    const int count = static_cast<int>(rows.size()), vocabulary = static_cast<int>(logits.columns);
    const PackedSampling packed(rows, vocabulary);
    asked_.begin(StepArrays::room_for<std::byte>(packed.bytes()), stream_);
    std::byte* const bytes = asked_.reserve<std::byte>(packed.bytes());
    packed.write({bytes, packed.bytes()});
    asked_.send(stream_);
    int32_t* const ids = ids_.of<int32_t>(rows.size(), stream_);
    SampledRow* const sampled = sampled_.of<SampledRow>(rows.size(), stream_);
    latest_ids_ = ids;
    cuda::sample({.logits = logits.f32(0),
                  .stride = logits.row_stride,
                  .rows = count,
                  .vocabulary = vocabulary,
                  .packed = asked_.on_device(bytes),
                  .draws = packed.draws(),
                  .scratch = scratch_.of<std::byte>(
                      sampling_scratch_bytes(count, vocabulary, packed.listed()), stream_),
                  .ids = ids,
                  .sampled = sampled},
                 stream_);
    now.results.grow_to(rows.size() * sizeof(SampledRow));
    copy_to_host(now.results.as<std::byte>(), sampled, rows.size() * sizeof(SampledRow), stream_);
  }
  record(now.done, stream_);
}

void StepSampler::finish() {
  SLUICE_CHECK_LT(finished_, started_);
  Flight& oldest = flight(finished_++);
  wait_for(oldest.done);
  const SampledRow* const results = oldest.results.as<const SampledRow>();
  for (size_t r = 0; r < oldest.rows.size(); ++r) unpack(results[r], oldest.rows[r], oldest.out[r]);
}

}  // namespace sluice::cuda
