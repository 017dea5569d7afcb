#include "engine/simulated_runner.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace sluice {
namespace {

constexpr uint64_t kEmptyPrefix = 0x5b1ce;

uint64_t extend(uint64_t digest, int32_t token) {
  return hash_combine(digest, static_cast<uint64_t>(token) + 1);
}

bool banned(const SamplingRow& row, int32_t token) {
  const auto v = static_cast<size_t>(token);
  if (!row.allowed_mask.empty() && (row.allowed_mask[v / 32] >> (v % 32) & 1U) == 0) return true;
  return std::ranges::find(row.banned_tokens, token) != row.banned_tokens.end();
}

int32_t draw(const SimulatedRunnerOptions& options, uint64_t digest, const SamplingRow& row) {
  const auto vocabulary = static_cast<uint64_t>(options.facts.vocabulary);
  if (row.temperature >= 1e-5F) digest = hash_combine(hash_combine(digest, row.seed), row.draw_index);
  const uint64_t bits = hash_combine(digest, 1);
  const auto& eos = options.facts.eos_ids;
  const auto& words = options.answer_ids;
  auto token = words.empty() ? static_cast<int32_t>(bits % vocabulary) : words[bits % words.size()];
  if (options.mean_answer_tokens > 0 && !eos.empty()) {
    if (hash_combine(digest, 2) % static_cast<uint64_t>(options.mean_answer_tokens) == 0) token = eos.front();
  } else {
    for (uint64_t i = 0; i < vocabulary && std::ranges::find(eos, token) != eos.end(); ++i) {
      token = static_cast<int32_t>((static_cast<uint64_t>(token) + 1) % vocabulary);
    }
  }
  for (uint64_t i = 0; i < vocabulary && banned(row, token); ++i) {
    token = static_cast<int32_t>((static_cast<uint64_t>(token) + 1) % vocabulary);
  }
  return token;
}

float given_logprob(uint64_t digest, int32_t token) {
  return -static_cast<float>(extend(digest, token) % 1000) / 100.0F;
}

SampledToken sampled(const SimulatedRunnerOptions& options, uint64_t digest, const SamplingRow& row) {
  if (row.given >= 0)
    return {.id = row.given, .logprob = given_logprob(digest, row.given), .rank = 1, .top_logprobs = {}};
  SampledToken out{.id = draw(options, digest, row)};
  if (row.logprobs < 0) return out;
  out.logprob = -0.5F;
  const int count = std::min(row.logprobs, options.facts.vocabulary);
  for (int i = 0; i < count; ++i) {
    out.top_logprobs.push_back({(out.id + i) % options.facts.vocabulary, -0.5F - static_cast<float>(i)});
  }
  return out;
}

void append_hidden(uint64_t digest, int width, std::vector<float>& out) {
  for (int i = 0; i < width; ++i) {
    const uint64_t bits = hash_combine(digest, static_cast<uint64_t>(i) + 3);
    out.push_back(static_cast<float>(bits % 2001) / 1000.0F - 1.0F);
  }
}

}  // namespace

SimulatedRunner::SimulatedRunner(SimulatedRunnerOptions options)
    : options_(std::move(options)),
      slots_(static_cast<size_t>(options_.facts.block_count * options_.facts.block_tokens)),
      digests_(std::make_unique_for_overwrite<uint64_t[]>(slots_)),
      stored_(options_.check_whole_context ? slots_ : 0, -1),
      steps_(static_cast<size_t>(options_.facts.steps_in_flight)) {
  SLUICE_CHECK_LT(0, options_.facts.vocabulary);
}

void SimulatedRunner::launch(const StepBatch& batch) {
  SLUICE_CHECK_LE(batch.tokens(), options_.facts.max_tokens_per_step);
  SLUICE_CHECK_LE(batch.sequences(), options_.facts.max_sequences);
  SLUICE_CHECK_LE(batch.sample_rows.size(), static_cast<size_t>(options_.facts.max_sequences));
  SLUICE_CHECK_EQ(launched_, sampled_);
  SLUICE_CHECK_LT(launched_ - collected_, steps_.size());
  SLUICE_CHECK(launched_ == collected_ || hidden_.empty());
  Step& now = step(launched_++);
  now.seconds = cost_of(batch);
  busy_until_ = std::max(busy_until_, Clock::now()) +
                std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(now.seconds));
  now.end = busy_until_;
  store(batch);
  if (options_.check_whole_context) {
    for (int64_t s = 0; s < batch.sequences(); ++s) check_context(batch, s);
  }
  const auto digest_of = [&](int32_t row) {
    return digests_[static_cast<size_t>(batch.slots[static_cast<size_t>(row)])];
  };
  now.rows.clear();
  for (const int32_t row : batch.sample_rows) now.rows.push_back(digest_of(row));
  hidden_.clear();
  for (const int32_t row : batch.hidden_rows) append_hidden(digest_of(row), options_.facts.width, hidden_);
}

void SimulatedRunner::sample(std::span<const SamplingRow> rows) {
  SLUICE_CHECK_EQ(launched_, sampled_ + 1);
  Step& now = step(sampled_++);
  SLUICE_CHECK_EQ(rows.size(), now.rows.size());
  now.tokens.clear();
  latest_.clear();
  for (size_t r = 0; r < rows.size(); ++r) {
    SLUICE_CHECK(rows[r].output_tokens.empty() || rows[r].output_tokens.size() == rows[r].draw_index);
    now.tokens.push_back(sampled(options_, now.rows[r], rows[r]));
    latest_.push_back(now.tokens.back().id);
  }
}

std::span<const SampledToken> SimulatedRunner::collect() {
  SLUICE_CHECK_LT(collected_, sampled_);
  const Step& now = step(collected_++);
  if (options_.real_time && now.seconds > 0) std::this_thread::sleep_until(now.end);
  last_step_seconds_ = now.seconds;
  simulated_seconds_ += now.seconds;
  return now.tokens;
}

// As a device does: sequence after sequence, each token behind the one its own block table names.
void SimulatedRunner::store(const StepBatch& batch) {
  const int B = options_.facts.block_tokens;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int32_t begin = batch.query_start[static_cast<size_t>(s)];
    const int32_t end = batch.query_start[static_cast<size_t>(s) + 1];
    for (int32_t t = begin; t < end; ++t) {
      const int32_t position = batch.positions[static_cast<size_t>(t)];
      const auto slot = static_cast<size_t>(batch.slots[static_cast<size_t>(t)]);
      SLUICE_CHECK_LT(slot, slots_);
      SLUICE_CHECK_EQ(position, batch.context_lengths[static_cast<size_t>(s)] - (end - t));
      uint64_t before = kEmptyPrefix;
      if (position > 0) {
        const int32_t previous = position - 1;
        const int32_t block =
            batch.block_table[static_cast<size_t>(s * batch.block_table_stride + previous / B)];
        before = digests_[static_cast<size_t>(int64_t{block} * B + previous % B)];
      }
      const int32_t token = batch.token_ids[static_cast<size_t>(t)];
      if (token < 0) SLUICE_CHECK_LT(static_cast<size_t>(~token), latest_.size());
      const int32_t known = token < 0 ? latest_[static_cast<size_t>(~token)] : token;
      digests_[slot] = extend(before, known);
      if (!stored_.empty()) stored_[slot] = known;
    }
  }
}

void SimulatedRunner::check_context(const StepBatch& batch, int64_t sequence) const {
  const int B = options_.facts.block_tokens;
  uint64_t digest = kEmptyPrefix;
  for (int32_t position = 0; position < batch.context_lengths[static_cast<size_t>(sequence)]; ++position) {
    const int32_t block =
        batch.block_table[static_cast<size_t>(sequence * batch.block_table_stride + position / B)];
    const auto slot = static_cast<size_t>(int64_t{block} * B + position % B);
    digest = extend(digest, stored_[slot]);
    SLUICE_CHECK_EQ(digest, digests_[slot]);
  }
}

double SimulatedRunner::cost_of(const StepBatch& batch) const {
  double seconds = options_.cost.step_seconds;
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    const int32_t tokens = batch.query_start[s + 1] - batch.query_start[s];
    const int32_t context = batch.context_lengths[s];
    if (tokens > 1) {
      seconds += options_.cost.prefill_token_seconds * tokens;
      seconds += options_.cost.prefill_pair_seconds * tokens * (context - tokens / 2.0);
    } else {
      seconds += options_.cost.decode_sequence_seconds;
    }
    seconds += options_.cost.context_token_seconds * context;
  }
  return seconds;
}

std::vector<float> SimulatedRunner::expected_hidden(const SimulatedRunnerOptions& options,
                                                    std::span<const int32_t> prefix) {
  uint64_t digest = kEmptyPrefix;
  for (const int32_t token : prefix) digest = extend(digest, token);
  std::vector<float> out;
  append_hidden(digest, options.facts.width, out);
  return out;
}

float SimulatedRunner::expected_logprob(std::span<const int32_t> prefix, int32_t next) {
  uint64_t digest = kEmptyPrefix;
  for (const int32_t token : prefix) digest = extend(digest, token);
  return given_logprob(digest, next);
}

int32_t SimulatedRunner::expected_token(const SimulatedRunnerOptions& options,
                                        std::span<const int32_t> prefix, const SamplingRow& row) {
  uint64_t digest = kEmptyPrefix;
  for (const int32_t token : prefix) digest = extend(digest, token);
  return draw(options, digest, row);
}

}  // namespace sluice
