// One row of logits to one token, in linear time: the same steps and the same draw as
// kernels/reference/sample_row.h, but no sort of the vocabulary. One object per thread; its scratch grows to
// the vocabulary once.
#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"

namespace sluice::cpu {

class RowSampler {
 public:
  explicit RowSampler(const KernelTable& kernels) : kernels_(&kernels) {}
  void sample(std::span<float> logits, const SamplingRow& row, SampledToken& out);

 private:
  struct Candidate {
    float logit;
    int32_t id;
    double weight;  // exp((logit - largest) / temperature)
  };

  void report_logprobs(std::span<const float> raw, int count, SampledToken& out);
  void penalise(const SamplingRow& row, std::span<float> logits);
  int32_t draw(std::span<const float> logits, const SamplingRow& row);
  double take_candidates(std::span<const float> logits, float threshold);
  size_t prefix_reaching(double target, bool beyond);

  const KernelTable* kernels_;
  std::vector<float> adjusted_, weights_;
  std::vector<int32_t> ids_, counts_, touched_;
  std::vector<Candidate> candidates_;
};

}  // namespace sluice::cpu
