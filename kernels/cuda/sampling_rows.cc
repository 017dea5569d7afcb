#include "kernels/cuda/sampling_rows.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/random.h"

namespace sluice::cuda {
namespace {

constexpr size_t kRowWords = sizeof(DeviceSamplingRow) / sizeof(uint32_t);

size_t rounded_up(size_t count, size_t to) {
  return (count + to - 1) / to * to;
}

bool draws_of(const SamplingRow& row) {
  return row.given < 0 && row.temperature >= 1e-5F;
}

// Tokens that a penalty of the row touches.
struct Penalised {
  std::span<const int32_t> output, prompt;
  size_t size() const { return output.size() + prompt.size(); }
};

Penalised penalised(const SamplingRow& row) {
  const bool repetition = row.repetition_penalty != 1.0F;
  if (row.given >= 0) return {};
  if (!repetition && row.presence_penalty == 0 && row.frequency_penalty == 0) return {};
  return {row.output_tokens, repetition ? row.prompt_tokens : std::span<const int32_t>()};
}

// Raw logits are kept where they are asked for and overwritten.
size_t listed_of(const SamplingRow& row) {
  return draws_of(row) && row.logprobs >= 0 ? penalised(row).size() + row.logit_bias.size() : 0;
}

// Hands out words of the pack from its rows on.
class Places {
 public:
  Places(size_t rows, size_t mask_words) : next_(rounded_up(rows * kRowWords, 4)), mask_words_(mask_words) {}

  struct Of {
    size_t penalised, banned, bias, mask;
  };
  Of take(const SamplingRow& row) {
    Of places{};
    if (row.given >= 0) return places;
    places.penalised = take(penalised(row).size());
    places.banned = take(row.banned_tokens.size());
    places.bias = take(2 * row.logit_bias.size());
    places.mask = row.allowed_mask.empty() ? 0 : take(mask_words_);
    return places;
  }
  size_t end() const { return next_; }

 private:
  size_t take(size_t words) {
    const size_t at = next_;
    next_ += rounded_up(words, 4);
    return at;
  }
  size_t next_;
  const size_t mask_words_;
};

void write_words(uint32_t* to, const void* from, size_t words) {
  if (words > 0) std::memcpy(to, from, words * sizeof(uint32_t));
}

// Of a token that is named twice both biases count; the kernel wants it named once.
int32_t write_bias(std::span<const std::pair<int32_t, float>> bias, uint32_t* words) {
  struct Entry {
    int32_t id;
    float bias;
  };
  static_assert(sizeof(Entry) == 2 * sizeof(uint32_t));
  auto* const entries = reinterpret_cast<Entry*>(words);
  for (size_t i = 0; i < bias.size(); ++i) entries[i] = {bias[i].first, bias[i].second};
  std::sort(entries, entries + bias.size(),
            [](const Entry& a, const Entry& b) { return a.id < b.id || (a.id == b.id && a.bias < b.bias); });
  int32_t count = 0;
  for (size_t i = 0; i < bias.size(); ++i) {
    if (count > 0 && entries[count - 1].id == entries[i].id)
      entries[count - 1].bias += entries[i].bias;
    else
      entries[count++] = entries[i];
  }
  return count;
}

}  // namespace

PackedSampling::PackedSampling(std::span<const SamplingRow> rows, int vocabulary)
    : rows_(rows), mask_words_(rounded_up(static_cast<size_t>(vocabulary), 32) / 32) {
  Places places(rows.size(), mask_words_);
  for (const SamplingRow& row : rows) {
    SLUICE_CHECK(row.logprobs <= kMaxTopLogprobs);
    SLUICE_CHECK(row.given >= 0 || row.allowed_mask.empty() || row.allowed_mask.size() >= mask_words_);
    places.take(row);
    listed_ += listed_of(row);
    draws_ = draws_ || draws_of(row);
  }
  words_ = places.end();
}

void PackedSampling::write(std::span<std::byte> to) const {
  SLUICE_CHECK(to.size() >= bytes());
  auto* const words = reinterpret_cast<uint32_t*>(to.data());
  Places places(rows_.size(), mask_words_);
  size_t listed = 0;
  for (size_t r = 0; r < rows_.size(); ++r) {
    const SamplingRow& row = rows_[r];
    const Places::Of at = places.take(row);
    DeviceSamplingRow packed{.temperature = row.temperature,
                             .top_p = row.top_p,
                             .min_p = row.min_p,
                             .repetition_penalty = row.repetition_penalty,
                             .presence_penalty = row.presence_penalty,
                             .frequency_penalty = row.frequency_penalty,
                             .top_k = row.top_k,
                             .logprobs = row.logprobs,
                             .given = row.given};
    if (draws_of(row)) packed.uniform = random_uniform(row.seed, row.draw_index);
    if (row.given < 0) {
      const Penalised tokens = penalised(row);
      packed.output_count = static_cast<int32_t>(tokens.output.size());
      packed.prompt_count = static_cast<int32_t>(tokens.prompt.size());
      packed.penalised_word = static_cast<uint32_t>(at.penalised);
      write_words(words + at.penalised, tokens.output.data(), tokens.output.size());
      write_words(words + at.penalised + tokens.output.size(), tokens.prompt.data(), tokens.prompt.size());
      packed.banned_count = static_cast<int32_t>(row.banned_tokens.size());
      packed.banned_word = static_cast<uint32_t>(at.banned);
      write_words(words + at.banned, row.banned_tokens.data(), row.banned_tokens.size());
      packed.bias_count = write_bias(row.logit_bias, words + at.bias);
      packed.bias_word = static_cast<uint32_t>(at.bias);
      packed.mask_word = static_cast<uint32_t>(at.mask);
      if (at.mask != 0) write_words(words + at.mask, row.allowed_mask.data(), mask_words_);
      if (const size_t kept = listed_of(row); kept > 0) {
        packed.listed = static_cast<int32_t>(listed);
        listed += kept;
      }
    }
    std::memcpy(words + r * kRowWords, &packed, sizeof packed);
  }
}

void unpack(const SampledRow& sampled, const SamplingRow& row, SampledToken& out) {
  out.id = sampled.id;
  out.logprob = row.logprobs >= 0 ? sampled.logprob : 0;
  out.rank = sampled.rank;
  out.top_logprobs.assign(sampled.top, sampled.top + sampled.top_count);
}

}  // namespace sluice::cuda
