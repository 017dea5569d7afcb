#include "kernels/cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/random.h"

namespace sluice::cpu {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kNearNats =
    10;  // candidates within this of the best come first; only flat distributions need more

}  // namespace

void RowSampler::sample(std::span<float> logits, const SamplingRow& row, SampledToken& out) {
  out.top_logprobs.clear();
  out.rank = 0;
  if (row.given >= 0) {
    out.id = row.given;
    const float own = logits[static_cast<size_t>(row.given)];
    int32_t larger = 0;
    for (const float l : logits) larger += l > own ? 1 : 0;
    out.rank = 1 + larger;
    if (row.logprobs >= 0) report_logprobs(logits, row.logprobs, out);
    return;
  }
  const bool changes = !row.allowed_mask.empty() || !row.banned_tokens.empty() || !row.logit_bias.empty() ||
                       row.repetition_penalty != 1.0F || row.presence_penalty != 0 ||
                       row.frequency_penalty != 0;
  std::span<float> seen = logits;
  if (changes) {
    adjusted_.assign(logits.begin(), logits.end());
    seen = adjusted_;
    if (!row.allowed_mask.empty()) {
      for (size_t v = 0; v < seen.size(); ++v) {
        const uint32_t word = row.allowed_mask[v / 32];
        if (word == 0xffffffffU && v % 32 == 0) {
          v += 31;
          continue;
        }
        if (((word >> (v % 32)) & 1) == 0) seen[v] = kNever;
      }
    }
    for (const int32_t id : row.banned_tokens) seen[static_cast<size_t>(id)] = kNever;
    for (const auto& [id, bias] : row.logit_bias) seen[static_cast<size_t>(id)] += bias;
    penalise(row, seen);
  }
  out.id = row.temperature < 1e-5F
               ? static_cast<int32_t>(kernels_->argmax(seen.data(), static_cast<int64_t>(seen.size())))
               : draw(seen, row);
  if (row.logprobs >= 0) report_logprobs(logits, row.logprobs, out);
}

// Repetition: https://arxiv.org/abs/1909.05858 (over prompt and output); presence and frequency: the OpenAI
// API reference.
void RowSampler::penalise(const SamplingRow& row, std::span<float> logits) {
  counts_.resize(logits.size());  // all zero between calls
  touched_.clear();
  constexpr int32_t kInPrompt = 1 << 30;
  for (const int32_t id : row.output_tokens) {
    if (counts_[static_cast<size_t>(id)]++ == 0) touched_.push_back(id);
  }
  if (row.repetition_penalty != 1.0F) {
    for (const int32_t id : row.prompt_tokens) {
      if (counts_[static_cast<size_t>(id)] == 0) {
        touched_.push_back(id);
        counts_[static_cast<size_t>(id)] = kInPrompt;
      }
    }
  }
  for (const int32_t id : touched_) {
    float& l = logits[static_cast<size_t>(id)];
    int32_t& count = counts_[static_cast<size_t>(id)];
    if (row.repetition_penalty != 1.0F) l = l > 0 ? l / row.repetition_penalty : l * row.repetition_penalty;
    if (count != kInPrompt) l -= row.presence_penalty + row.frequency_penalty * static_cast<float>(count);
    count = 0;
  }
}

// The candidates whose logit is at least `threshold`; returns their weight.
double RowSampler::take_candidates(std::span<const float> logits, float threshold) {
  ids_.resize(logits.size());
  const int64_t count =
      kernels_->collect_at_least(logits.data(), static_cast<int64_t>(logits.size()), threshold, ids_.data());
  candidates_.clear();
  double total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = ids_[static_cast<size_t>(i)];
    const auto v = static_cast<size_t>(id);
    candidates_.push_back({logits[v], id, static_cast<double>(weights_[v])});
    total += candidates_.back().weight;
  }
  return total;
}

// Brings the most likely candidates to the front, as many as it takes for their weight to reach (or pass)
// `target`; returns that number, at least 1. The last of them is in its sorted place, those before it in any
// order. Linear on average.
size_t RowSampler::prefix_reaching(double target, bool beyond) {
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  const auto first = candidates_.begin();
  size_t low = 0, high = candidates_.size();
  double below = 0;  // weight of [0, low)
  const auto reached = [&](double weight) { return beyond ? weight > target : weight >= target; };
  while (high - low > 32) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(first + static_cast<ptrdiff_t>(low), first + static_cast<ptrdiff_t>(middle),
                     first + static_cast<ptrdiff_t>(high), before);
    double weight = below;
    for (size_t i = low; i < middle; ++i) weight += candidates_[i].weight;
    if (reached(weight)) {
      high = middle;
    } else {
      low = middle;
      below = weight;
    }
  }
  std::sort(first + static_cast<ptrdiff_t>(low), first + static_cast<ptrdiff_t>(high), before);
  for (size_t i = low; i < high; ++i) {
    below += candidates_[i].weight;
    if (reached(below)) return i + 1;
  }
  return std::max<size_t>(high, 1);
}

int32_t RowSampler::draw(std::span<const float> logits, const SamplingRow& row) {
  const auto n = static_cast<int64_t>(logits.size());
  const float largest = kernels_->largest(logits.data(), n);
  if (!std::isfinite(largest)) return static_cast<int32_t>(kernels_->argmax(logits.data(), n));
  weights_.resize(logits.size());
  double total = kernels_->exp_sum(logits.data(), n, largest, 1 / row.temperature, weights_.data());
  const double uniform = random_uniform(row.seed, row.draw_index);

  // min_p as a threshold on the logit; else the near candidates if they certainly hold the answer; else all.
  const float near = largest - kNearNats * row.temperature;
  const float min_p_threshold =
      row.min_p > 0 ? largest + row.temperature * std::log(std::min(row.min_p, 1.0F)) : kNever;
  double taken = take_candidates(logits, std::max(near, min_p_threshold));
  bool restricted = min_p_threshold >= near;  // the candidates are all that min_p leaves
  if (!restricted && row.top_k > 0 && candidates_.size() < static_cast<size_t>(row.top_k)) {
    taken = take_candidates(logits, std::max(std::numeric_limits<float>::lowest(), min_p_threshold));
    restricted = true;
  } else if (!restricted && row.top_k <= 0) {
    const double needed = row.top_p < 1 ? static_cast<double>(row.top_p) : uniform;
    if (row.min_p > 0 || taken <= needed * total * (1 + 1e-6)) {
      taken = take_candidates(logits, std::max(std::numeric_limits<float>::lowest(), min_p_threshold));
      restricted = true;
    }
  }
  if (row.top_k > 0 && candidates_.size() > static_cast<size_t>(row.top_k)) {
    std::nth_element(candidates_.begin(), candidates_.begin() + (row.top_k - 1), candidates_.end(),
                     [](const Candidate& a, const Candidate& b) {
                       return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
                     });
    candidates_.resize(static_cast<size_t>(row.top_k));
    taken = 0;
    for (const auto& c : candidates_) taken += c.weight;
    restricted = true;
  } else if (row.top_k > 0) {
    restricted = true;
  }
  if (restricted) total = taken;
  if (row.top_p < 1) {
    candidates_.resize(prefix_reaching(row.top_p * total, false));
    total = 0;
    for (const auto& c : candidates_) total += c.weight;
  }
  return candidates_[prefix_reaching(uniform * total, true) - 1].id;
}

// log softmax of the raw logits.
void RowSampler::report_logprobs(std::span<const float> raw, int count, SampledToken& out) {
  const auto n = static_cast<int64_t>(raw.size());
  const float largest = kernels_->largest(raw.data(), n);
  weights_.resize(raw.size());
  const double log_total =
      std::log(kernels_->exp_sum(raw.data(), n, largest, 1.0F, weights_.data())) + largest;
  out.logprob = static_cast<float>(raw[static_cast<size_t>(out.id)] - log_total);
  const auto wanted = std::min<size_t>(static_cast<size_t>(std::max(count, 0)), raw.size());
  if (wanted == 0) return;
  auto& top = out.top_logprobs;  // holds logits until the end
  for (size_t v = 0; v < raw.size(); ++v) {
    if (top.size() == wanted && raw[v] <= top.back().logprob) continue;
    const TokenLogprob entry{static_cast<int32_t>(v), raw[v]};
    const auto at =
        std::upper_bound(top.begin(), top.end(), entry,
                         [](const TokenLogprob& a, const TokenLogprob& b) { return a.logprob > b.logprob; });
    top.insert(at, entry);
    if (top.size() > wanted) top.pop_back();
  }
  for (auto& entry : top) entry.logprob = static_cast<float>(entry.logprob - log_total);
}

}  // namespace sluice::cpu
