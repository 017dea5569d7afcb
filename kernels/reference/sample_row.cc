#include "kernels/reference/sample_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "kernels/random.h"

namespace sluice::reference {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// log softmax of the raw logits, for the ids asked for.
void report_logprobs(std::span<const float> logits, int count, SampledToken& token) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float l : logits) total += std::exp(static_cast<double>(l) - largest);
  const double log_total = std::log(total) + largest;
  token.logprob = static_cast<float>(logits[static_cast<size_t>(token.id)] - log_total);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  for (int i = 0; i < count && i < static_cast<int>(order.size()); ++i) {
    const int32_t id = order[static_cast<size_t>(i)];
    token.top_logprobs.push_back({id, static_cast<float>(logits[static_cast<size_t>(id)] - log_total)});
  }
}

void apply_masks_and_bias(const SamplingRow& row, std::vector<float>& logits) {
  if (!row.allowed_mask.empty()) {
    for (size_t v = 0; v < logits.size(); ++v) {
      if (((row.allowed_mask[v / 32] >> (v % 32)) & 1) == 0) logits[v] = kNever;
    }
  }
  for (const int32_t id : row.banned_tokens) logits[static_cast<size_t>(id)] = kNever;
  for (const auto& [id, bias] : row.logit_bias) logits[static_cast<size_t>(id)] += bias;
}

// Repetition: https://arxiv.org/abs/1909.05858 (over prompt and output); presence and frequency: the OpenAI
// API reference.
void apply_penalties(const SamplingRow& row, std::vector<float>& logits) {
  std::unordered_map<int32_t, int> output_counts;
  for (const int32_t id : row.output_tokens) ++output_counts[id];
  if (row.repetition_penalty != 1.0F) {
    auto seen = output_counts;
    for (const int32_t id : row.prompt_tokens) ++seen[id];
    for (const auto& [id, count] : seen) {
      float& l = logits[static_cast<size_t>(id)];
      l = l > 0 ? l / row.repetition_penalty : l * row.repetition_penalty;
    }
  }
  for (const auto& [id, count] : output_counts) {
    logits[static_cast<size_t>(id)] -=
        row.presence_penalty + row.frequency_penalty * static_cast<float>(count);
  }
}

}  // namespace

SampledToken sample_row(std::span<const float> raw, const SamplingRow& row) {
  SampledToken token;
  if (row.given >= 0) {
    token.id = row.given;
    const float own = raw[static_cast<size_t>(row.given)];
    token.rank = 1 + static_cast<int32_t>(std::ranges::count_if(raw, [&](float l) { return l > own; }));
    if (row.logprobs >= 0) report_logprobs(raw, row.logprobs, token);
    return token;
  }
  std::vector<float> logits(raw.begin(), raw.end());
  apply_masks_and_bias(row, logits);
  apply_penalties(row, logits);
  const auto best = std::max_element(logits.begin(), logits.end());  // the first of equals: the lowest id
  token.id = static_cast<int32_t>(best - logits.begin());
  if (row.temperature >= 1e-5F) {
    struct Candidate {
      int32_t id;
      double probability;
    };
    std::vector<Candidate> candidates;
    double total = 0;
    for (size_t v = 0; v < logits.size(); ++v) {
      const double p = std::exp((static_cast<double>(logits[v]) - *best) / row.temperature);
      candidates.push_back({static_cast<int32_t>(v), p});
      total += p;
    }
    // min_p: at least this share of the most likely one's probability, which is 1 here before normalisation.
    if (row.min_p > 0)
      std::erase_if(candidates, [&](const Candidate& c) { return c.probability < row.min_p; });
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.probability > b.probability; });
    if (row.top_k > 0 && candidates.size() > static_cast<size_t>(row.top_k))
      candidates.resize(static_cast<size_t>(row.top_k));
    total = 0;
    for (const auto& c : candidates) total += c.probability;
    // top_p: the smallest set of the most likely whose share reaches it; at least one.
    if (row.top_p < 1) {
      double share = 0;
      size_t kept = 0;
      while (kept < candidates.size() && share < row.top_p * total) share += candidates[kept++].probability;
      candidates.resize(std::max<size_t>(kept, 1));
      total = std::accumulate(candidates.begin(), candidates.end(), 0.0,
                              [](double sum, const Candidate& c) { return sum + c.probability; });
    }
    double draw = random_uniform(row.seed, row.draw_index) * total;
    token.id = candidates.back().id;
    for (const auto& c : candidates) {
      if (draw < c.probability) {
        token.id = c.id;
        break;
      }
      draw -= c.probability;
    }
  }
  if (row.logprobs >= 0) report_logprobs(raw, row.logprobs, token);
  return token;
}

}  // namespace sluice::reference
