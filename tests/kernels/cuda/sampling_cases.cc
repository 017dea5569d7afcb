// Sampling against the reference: every restriction by itself and mixed, ties, broken logits, rows of every
// kind side by side, vocabularies that fill no slice, one, and several; and against the distribution itself.
#include <fmt/format.h>

#include <limits>
#include <map>

#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_rows.h"
#include "kernels/reference/sample_row.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

// A row with the memory that it points to.
struct Asked {
  std::vector<float> logits;
  SamplingRow row;
  std::vector<int32_t> prompt = {}, output = {}, banned = {};
  std::vector<std::pair<int32_t, float>> bias = {};
  std::vector<uint32_t> mask = {};

  SamplingRow with_lists() const {
    SamplingRow r = row;
    r.prompt_tokens = prompt, r.output_tokens = output, r.banned_tokens = banned;
    r.logit_bias = bias, r.allowed_mask = mask;
    return r;
  }
};

std::vector<SampledToken> sample_on_device(const std::vector<Asked>& asked, size_t stride = 0) {
  const size_t vocabulary = asked.front().logits.size();
  if (stride == 0) stride = (vocabulary + 3) / 4 * 4;
  std::vector<SamplingRow> rows;
  std::vector<float> logits;
  for (const Asked& one : asked) {
    rows.push_back(one.with_lists());
    logits.insert(logits.end(), one.logits.begin(), one.logits.end());
    logits.resize(rows.size() * stride, 1e9F);  // what lies between rows must not be read as theirs
  }
  const PackedSampling packed(rows, static_cast<int>(vocabulary));
  std::vector<std::byte> bytes(packed.bytes());
  packed.write(bytes);
  const int count = static_cast<int>(rows.size());
  const DeviceArray<std::byte> pack(bytes);
  DeviceArray<std::byte> scratch(
      sampling_scratch_bytes(count, static_cast<int>(vocabulary), packed.listed()));
  const DeviceArray<float> values(logits);
  DeviceArray<int32_t> ids(rows.size());
  DeviceArray<SampledRow> sampled(rows.size());
  sample({.logits = values.get(),
          .stride = static_cast<int64_t>(stride),
          .rows = count,
          .vocabulary = static_cast<int>(vocabulary),
          .packed = pack.get(),
          .draws = packed.draws(),
          .scratch = scratch.get(),
          .ids = ids.get(),
          .sampled = sampled.get()},
         nullptr);
  std::vector<SampledToken> tokens(rows.size());
  const std::vector<SampledRow> out = sampled.take();
  const std::vector<int32_t> out_ids = ids.take();
  for (size_t r = 0; r < rows.size(); ++r) {
    if (out_ids[r] == out[r].id && out[r].top_count >= 0 && out[r].top_count <= kMaxTopLogprobs)
      unpack(out[r], rows[r], tokens[r]);
    else
      tokens[r].id = -1;  // nobody wrote it, or not everywhere
  }
  return tokens;
}

// Equal logits, or both never; nearly equal ones.
bool near(float got, float want) {
  return got == want || std::fabs(got - want) < 2e-5F * std::max(1.0F, std::fabs(want));
}

std::string difference(const SampledToken& got, const SampledToken& want, const SamplingRow& row) {
  if (got.id != want.id) return fmt::format("token {}, not {}", got.id, want.id);
  if (row.given >= 0 && got.rank != want.rank) return fmt::format("rank {}, not {}", got.rank, want.rank);
  if (row.logprobs < 0) return "";
  if (!near(got.logprob, want.logprob)) return fmt::format("logprob {}, not {}", got.logprob, want.logprob);
  if (got.top_logprobs.size() != want.top_logprobs.size())
    return fmt::format("{} most likely, not {}", got.top_logprobs.size(), want.top_logprobs.size());
  for (size_t i = 0; i < want.top_logprobs.size(); ++i) {
    const TokenLogprob &g = got.top_logprobs[i], &w = want.top_logprobs[i];
    if (g.id != w.id) return fmt::format("token {} in place {}, not {}", g.id, i, w.id);
    if (!near(g.logprob, w.logprob)) return fmt::format("logprob {} in place {}", g.logprob, i);
  }
  return "";
}

std::string compare(const std::vector<Asked>& asked, size_t stride = 0) {
  const std::vector<SampledToken> got = sample_on_device(asked, stride);
  for (size_t r = 0; r < asked.size(); ++r) {
    const SamplingRow row = asked[r].with_lists();
    const std::string wrong = difference(got[r], reference::sample_row(asked[r].logits, row), row);
    if (!wrong.empty()) return fmt::format("row {}: {}", r, wrong);
  }
  return "";
}

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  template <class... T>
  float pick(T... values) {
    const float options[] = {static_cast<float>(values)...};
    return options[random_() % (sizeof...(values))];
  }
  bool one_in(uint32_t n) { return random_() % n == 0; }
  uint32_t below(size_t n) { return static_cast<uint32_t>(random_() % n); }
  std::vector<int32_t> tokens(size_t count, size_t vocabulary) {
    std::vector<int32_t> tokens(count);
    for (int32_t& t : tokens) t = static_cast<int32_t>(below(vocabulary));
    return tokens;
  }

 private:
  std::mt19937 random_;
};

Asked anything(Dice& dice, size_t vocabulary) {
  Asked asked{random_values(vocabulary, dice.below(1000000), dice.pick(0.1, 1, 4)), {}};
  SamplingRow& row = asked.row;
  row.temperature = dice.pick(0, 0.1, 0.7, 1, 1.5, 1e-4, 1000);
  row.top_k = static_cast<int>(dice.pick(0, 0, 1, 5, 50, 900, 1e9, -1));
  row.top_p = dice.pick(1, 1, 0.9, 0.5, 1e-6, 0.999, 0);
  row.min_p = dice.pick(0, 0, 0.05, 0.5, 1, 1e-6);
  row.seed = dice.below(1000000), row.draw_index = dice.below(10);
  row.logprobs = static_cast<int>(dice.pick(-1, -1, 0, 1, 5, 20));
  if (dice.one_in(8)) row.given = static_cast<int32_t>(dice.below(vocabulary));
  if (dice.one_in(2)) {
    row.repetition_penalty = dice.pick(1, 1.3, 0.8);
    row.presence_penalty = dice.pick(0, 0.5, -1);
    row.frequency_penalty = dice.pick(0, 0.7);
    asked.prompt = dice.tokens(dice.below(60), vocabulary);
    asked.output = dice.tokens(dice.below(40), std::min<size_t>(vocabulary, 30));
  }
  if (dice.one_in(3)) {
    std::map<int32_t, float> bias;
    for (const int32_t id : dice.tokens(dice.below(20), vocabulary)) bias[id] = dice.pick(3, -100, 0.5);
    asked.bias.assign(bias.begin(), bias.end());
  }
  if (dice.one_in(3)) asked.banned = dice.tokens(dice.below(5), vocabulary);
  if (dice.one_in(3)) {
    for (size_t w = 0; w <= vocabulary / 32; ++w) asked.mask.push_back(dice.below(size_t{1} << 32U));
    asked.mask[0] |= 1;
  }
  return asked;
}

std::string mixed_case(size_t vocabulary, int rows, uint32_t seed) {
  Dice dice(seed);
  std::vector<Asked> asked;
  for (int r = 0; r < rows; ++r) asked.push_back(anything(dice, vocabulary));
  return compare(asked);
}

// Rows that begin at no multiple of 16 bytes.
std::string unaligned_case() {
  Dice dice(5);
  std::vector<Asked> asked;
  for (int r = 0; r < 12; ++r) asked.push_back(anything(dice, 333));
  return compare(asked, 333);
}

std::string greedy_case(size_t vocabulary) {
  std::vector<Asked> asked;
  for (const size_t at : {vocabulary - 1, vocabulary / 2, size_t{0}}) {
    Asked one{random_values(vocabulary, 3), {.temperature = 0}};
    one.logits[at] = 50;
    one.logits.back() = 50;  // of equals the first
    asked.push_back(one);
  }
  asked[1].row.logprobs = 3;
  asked[2].logits[0] = -0.0F, asked[2].logits.back() = 0.0F;
  for (size_t v = 1; v + 1 < vocabulary; ++v) asked[2].logits[v] = -1;
  return compare(asked);
}

// The bins in question hold more tokens than are collected: the row itself is searched.
std::string flat_case(size_t vocabulary, float levels) {
  std::vector<Asked> asked;
  const std::vector<SamplingRow> rows = {{.top_k = 1500},
                                         {.top_k = 3000, .top_p = 0.7F},
                                         {.top_p = 0.3F, .min_p = 0.1F, .logprobs = 20},
                                         {.temperature = 30, .top_k = 2000, .top_p = 0.9F},
                                         {.temperature = 0.5F},
                                         {.top_k = 1},
                                         {.top_p = 1e-9F}};
  for (const SamplingRow& row : rows) {
    Asked one{random_values(vocabulary, static_cast<uint32_t>(asked.size()) + 1, 0.5F), row};
    for (float& l : one.logits) l = std::round(l * levels);
    one.row.seed = 7 + asked.size();
    asked.push_back(one);
  }
  return compare(asked);
}

// One bin of many unlike logits: the search goes on below the first digit.
std::string crowded_case() {
  std::vector<Asked> asked;
  for (const float top_p : {1.0F, 0.4F}) {
    Asked one{random_values(9000, 11, 1e-5F), {.temperature = 1, .top_k = 4000, .top_p = top_p, .seed = 5}};
    for (float& l : one.logits) l += 3;
    one.logits[17] = -2000;  // so that the bins are wide
    asked.push_back(one);
  }
  return compare(asked);
}

std::string penalties_case() {
  std::vector<Asked> asked;
  Dice dice(3);
  const size_t vocabulary = 9000;
  for (const int output : {1, 7, 3000, 131072}) {
    Asked one{random_values(vocabulary, static_cast<uint32_t>(output), 2), {}};
    one.row.repetition_penalty = 1.2F;
    one.row.frequency_penalty = 0.01F, one.row.presence_penalty = 0.3F;
    one.row.logprobs = 2;
    one.row.seed = static_cast<uint64_t>(output);
    one.row.temperature = output == 7 ? 0.0F : 1.0F;
    one.output = dice.tokens(static_cast<size_t>(output), output == 3000 ? 10 : vocabulary);
    one.prompt = dice.tokens(static_cast<size_t>(output) / 2 + 1, vocabulary);
    asked.push_back(one);
  }
  return compare(asked);
}

// A token that is biased up so that it is chosen, having been penalised: its logprob is that of the raw
// logit.
std::string raw_logprob_case() {
  std::vector<Asked> asked;
  for (const int32_t token : {5, 8300, 8999}) {
    Asked one{random_values(9000, 21), {.temperature = 1, .repetition_penalty = 1.5F, .logprobs = 1}};
    one.bias = {{token, 40.0F}, {3, 1.0F}};
    one.output = {token, 1, token};
    one.prompt = {2, token};
    asked.push_back(one);
    one.bias.clear();
    one.mask.assign(9000 / 32 + 1, 0);
    one.mask[static_cast<size_t>(token) / 32] = 1U << (token % 32);
    asked.push_back(one);
  }
  return compare(asked);
}

std::string mask_case() {
  std::vector<Asked> asked;
  for (const int32_t only : {0, 31, 32, 999}) {
    for (const float temperature : {0.0F, 1.0F}) {
      Asked one{random_values(1000, 3), {.temperature = temperature, .top_p = 0.9F, .logprobs = 0}};
      one.mask.assign(32, 0);
      one.mask[static_cast<size_t>(only) / 32] = 1U << (only % 32);
      asked.push_back(one);
      one.bias = {{only, -50.0F}, {only == 0 ? 1 : 0, 1000.0F}};  // the mask is stronger
      asked.push_back(one);
      one.mask.clear();
      one.banned = {0, 1, 999};
      asked.push_back(one);
    }
  }
  const std::string wrong = compare(asked);
  if (!wrong.empty()) return wrong;
  // Nothing is allowed: as if greedy, the lowest id, with its raw logprob.
  Asked none{random_values(1000, 4), {.temperature = 1, .logprobs = 2}};
  none.mask.assign(32, 0);
  const SampledToken got = sample_on_device({none}).front();
  none.row.temperature = 0;
  return difference(got, reference::sample_row(none.logits, none.with_lists()), none.row);
}

// Whatever is in the logits, a token comes out, and the next rows are not harmed.
std::string broken_case() {
  std::vector<std::vector<float>> broken = {
      std::vector<float>(40, -kInfinity), std::vector<float>(40, kNotANumber), std::vector<float>(40, 3e38F)};
  std::vector<int32_t> want = {0, 0, 0};
  std::vector<float> one_left(40, -kInfinity), infinite(40, 1), mixed(40, kNotANumber), wide(40, -3.2e38F);
  one_left[33] = -5, infinite[7] = kInfinity, infinite[9] = kInfinity, mixed[11] = 2, wide[38] = 3.2e38F;
  infinite[3] = kNotANumber;
  for (const auto& logits : {one_left, infinite, mixed, wide}) broken.push_back(logits);
  for (const int32_t id : {33, 7, 11, 38}) want.push_back(id);
  std::vector<Asked> asked;
  for (const auto& logits : broken) {
    for (const float temperature : {0.0F, 1.0F, 1e-5F, 1e30F, kInfinity}) {
      asked.push_back(
          {logits, {.temperature = temperature, .top_k = 3, .top_p = 1e-6F, .min_p = 0.1F, .logprobs = 2}});
    }
  }
  asked.push_back({random_values(40, 1), {.temperature = 0}});
  const auto got = sample_on_device(asked);
  for (size_t r = 0; r + 1 < asked.size(); ++r) {
    if (got[r].id != want[r / 5]) return fmt::format("row {}: token {}", r, got[r].id);
  }
  return difference(got.back(), reference::sample_row(asked.back().logits, asked.back().row),
                    asked.back().row);
}

// A row's result, to the last bit, whoever is beside it and however its slices are dealt out.
std::string independence_case() {
  Dice dice(23);
  std::vector<Asked> asked;
  for (int r = 0; r < 6; ++r) asked.push_back(anything(dice, 8200));
  const std::vector<SampledToken> few = sample_on_device(asked);
  for (int r = 0; r < 134; ++r) asked.push_back({random_values(8200, 1), {.temperature = 0}});
  std::ranges::reverse(asked);
  std::vector<SampledToken> many = sample_on_device(asked);
  std::ranges::reverse(many);
  for (size_t r = 0; r < few.size(); ++r) {
    if (few[r].id != many[r].id || few[r].logprob != many[r].logprob) return fmt::format("row {}", r);
    for (size_t i = 0; i < few[r].top_logprobs.size(); ++i) {
      if (few[r].top_logprobs[i].logprob != many[r].top_logprobs[i].logprob)
        return fmt::format("row {}, place {}", r, i);
    }
  }
  return "";
}

// Chi-square of the draws over the tokens; the 1 - 1e-6 quantile of 9 degrees of freedom is 44.8.
std::string distribution_case() {
  const std::vector<float> logits = random_values(10, 5, 0.6F);
  constexpr int kRows = 200, kCalls = 2;
  std::vector<int> counts(logits.size());
  for (int call = 0; call < kCalls; ++call) {
    std::vector<Asked> asked;
    for (int r = 0; r < kRows; ++r) {
      asked.push_back(
          {logits, {.temperature = 0.8F, .seed = 9, .draw_index = static_cast<uint64_t>(call * kRows + r)}});
    }
    for (const SampledToken& token : sample_on_device(asked)) ++counts[static_cast<size_t>(token.id)];
  }
  double total = 0, chi_square = 0;
  for (const float l : logits) total += std::exp(static_cast<double>(l) / 0.8);
  for (size_t v = 0; v < logits.size(); ++v) {
    const double expected = kRows * kCalls * std::exp(static_cast<double>(logits[v]) / 0.8) / total;
    chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
  }
  return judge("chi-square", chi_square, 44.8);
}

// A token named twice in logit_bias gets both.
std::string twice_biased_case() {
  Asked one{std::vector<float>(100, 0), {.temperature = 0, .logprobs = 0}};
  one.bias = {{7, 1.0F}, {50, 1.5F}, {7, 1.0F}};
  return compare({one});
}

}  // namespace

void add_sampling_cases(std::vector<Case>& cases) {
  for (const size_t vocabulary : {1, 3, 33, 1000})
    cases.push_back({fmt::format("sampling_{}", vocabulary), [=] { return mixed_case(vocabulary, 24, 1); }});
  for (const size_t vocabulary : {8192, 8193, 20001})
    cases.push_back({fmt::format("sampling_{}", vocabulary), [=] { return mixed_case(vocabulary, 8, 2); }});
  cases.push_back({"sampling_49152", [] { return mixed_case(49152, 3, 3); }});
  cases.push_back({"sampling_128256", [] { return mixed_case(128256, 1, 4); }});
  cases.push_back({"sampling_unaligned", unaligned_case});
  for (const size_t vocabulary : {2, 5000, 20000})
    cases.push_back({fmt::format("sampling_greedy_{}", vocabulary), [=] { return greedy_case(vocabulary); }});
  cases.push_back({"sampling_flat", [] { return flat_case(8200, 0); }});
  cases.push_back({"sampling_ties", [] { return flat_case(8200, 2); }});
  cases.push_back({"sampling_crowded", crowded_case});
  cases.push_back({"sampling_penalties", penalties_case});
  cases.push_back({"sampling_raw_logprob", raw_logprob_case});
  cases.push_back({"sampling_mask", mask_case});
  cases.push_back({"sampling_broken", broken_case});
  cases.push_back({"sampling_independence", independence_case});
  cases.push_back({"sampling_distribution", distribution_case});
  cases.push_back({"sampling_twice_biased", twice_biased_case});
}

}  // namespace sluice::cuda::testing
