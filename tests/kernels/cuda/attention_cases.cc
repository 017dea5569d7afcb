// Paged attention against the reference: contexts of one token, of one past a block, of several splits;
// groups of 1 to 8 heads; all head sizes and cache types; windows; steps that mix decoding and prefilling.
// Slots that hold no token are filled with the largest numbers, entries of block tables behind the context
// and before the window are -1, rows lie further apart than they are wide.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gpu_types.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda::testing {
namespace {

constexpr double kTolerance = 0.012;  // weights and results are rounded to bf16
constexpr uint16_t kUntouched = 0x7fff;

struct Sequence {
  int context = 1, tokens = 1;
};

struct Options {
  DType dtype = DType::kBF16;
  int head_size = 64, kv_heads = 2, group = 4, block_tokens = 16, sliding_window = 0;
  bool deterministic = false;
  int multiprocessors = 132;
  int blocks = 0;  // of a decoding launch for each kv head; 0: as many as there are works
};

// Sequences with their caches, queries for their new tokens, and what the reference makes of them.
class World {
 public:
  World(Options options, std::vector<Sequence> sequences)
      : options_(options), sequences_(std::move(sequences)) {
    shape_ = {.query_heads = options.kv_heads * options.group,
              .kv_heads = options.kv_heads,
              .head_size = options.head_size,
              .scale = 1.0F / std::sqrt(static_cast<float>(options.head_size)),
              .sliding_window = options.sliding_window};
    layout_ = {.block_tokens = options.block_tokens,
               .kv_heads = options.kv_heads,
               .head_size = options.head_size,
               .dtype = options.dtype,
               .order = KvOrder::kRows};
    make_tables();
    make_cache();
    qkv_stride_ = shape_.qkv_columns() + 8;
    qkv_ = rounded(random_values(static_cast<size_t>(query_start_.back() * qkv_stride_), 3));
  }

  const AttentionShape& shape() const { return shape_; }
  const std::vector<Sequence>& sequences() const { return sequences_; }
  int out_columns() const { return shape_.query_heads * shape_.head_size; }

  AttentionPlan plan() const {
    AttentionPlan plan;
    plan_attention(query_start_, contexts_, shape_,
                   {.multiprocessors = options_.multiprocessors, .deterministic = options_.deterministic},
                   plan);
    return plan;
  }

  // Rows of the new tokens, dense, as bits; empty if the kernels left something wrong elsewhere.
  std::vector<uint16_t> run(const AttentionPlan& plan) const {
    const int stride = out_columns() + 8, tokens = query_start_.back();
    const DeviceArray<uint16_t> qkv(as_bf16(qkv_));
    const DeviceArray<std::byte> keys(keys_), values(values_);
    const DeviceArray<int32_t> table(table_);
    const DeviceArray<uint16_t> out(std::vector<uint16_t>(static_cast<size_t>(tokens * stride), kUntouched));
    AttentionArrays arrays;
    arrays.qkv = reinterpret_cast<const bf16*>(qkv.get());
    arrays.qkv_stride = qkv_stride_;
    arrays.out = reinterpret_cast<bf16*>(out.get());
    arrays.out_stride = stride;
    arrays.block_table = table.get();
    arrays.block_table_stride = table_stride_;
    arrays.cache = {keys.get(),
                    values.get(),
                    options_.dtype,
                    options_.block_tokens,
                    options_.kv_heads,
                    options_.head_size,
                    static_cast<int64_t>(layout_.page_bytes())};

    const DeviceArray<int32_t> counts(
        {static_cast<int32_t>(plan.decode.size()), static_cast<int32_t>(plan.prefill.size())});
    // One more than there are works, which ends at once.
    const int prefills = static_cast<int>(plan.prefill.size()) + 1;
    const int decodes = options_.blocks > 0 ? options_.blocks : static_cast<int>(plan.decode.size()) + 1;
    const DeviceArray<int32_t> counters(
        std::vector<int32_t>(contexts_.size() * static_cast<size_t>(shape_.kv_heads)));
    if (!plan.decode.empty()) {
      const DeviceArray<DecodeWork> works(plan.decode);
      const auto partial_rows = static_cast<size_t>(plan.partial_rows);
      const DeviceArray<float> sums(partial_rows * static_cast<size_t>(shape_.head_size)),
          peaks(partial_rows * 2);
      attention_decode(arrays, shape_, {works.get(), counts.get(), decodes},
                       {sums.get(), peaks.get(), counters.get()}, nullptr);
      synchronize(nullptr);
    }
    if (!plan.prefill.empty()) {
      const DeviceArray<PrefillWork> works(plan.prefill);
      attention_prefill(arrays, shape_, {works.get(), counts.get() + 1, prefills}, nullptr);
      synchronize(nullptr);
    }
    bool clean = true;
    for (const int32_t counter : counters.take()) clean &= counter == 0;
    const std::vector<uint16_t> rows = out.take();
    std::vector<uint16_t> dense;
    for (int t = 0; t < tokens; ++t) {
      const auto row = rows.begin() + static_cast<ptrdiff_t>(t) * stride;
      dense.insert(dense.end(), row, row + out_columns());
      for (auto beside = row + out_columns(); beside != row + stride; ++beside)
        clean &= *beside == kUntouched;
    }
    return clean ? dense : std::vector<uint16_t>();
  }

  std::string check(const AttentionPlan& plan) {
    if (want_.empty()) want_ = reference();
    const std::vector<uint16_t> got = run(plan);
    if (got.empty()) return "attention leaves a counter behind or writes between rows";
    return judge("attention", relative_error(as_float(got), want_), kTolerance);
  }

  // The same sequence with these keys, values and queries, of which only rows [first, first + tokens) are
  // new: `tokens` of its first `context`.
  World part_of(size_t sequence, int context, int tokens) const {
    World part = *this;
    part.sequences_ = {{context, tokens}};
    part.contexts_ = {context};
    part.query_start_ = {0, tokens};
    part.table_.assign(table_.begin() + static_cast<ptrdiff_t>(sequence) * table_stride_,
                       table_.begin() + static_cast<ptrdiff_t>(sequence + 1) * table_stride_);
    const Sequence& whole = sequences_[sequence];
    const int first = query_start_[sequence] + (context - tokens) - (whole.context - whole.tokens);
    part.qkv_.assign(qkv_.begin() + first * qkv_stride_, qkv_.begin() + (first + tokens) * qkv_stride_);
    part.want_.clear();
    return part;
  }

 private:
  void make_tables() {
    int most_blocks = 0;
    query_start_ = {0};
    for (const Sequence& s : sequences_) {
      most_blocks = std::max(most_blocks, (s.context + options_.block_tokens - 1) / options_.block_tokens);
      query_start_.push_back(query_start_.back() + s.tokens);
      contexts_.push_back(s.context);
    }
    table_stride_ = most_blocks + 2;
    const auto entries = static_cast<size_t>(table_stride_) * sequences_.size();
    table_.assign(entries, -1);
    std::vector<int32_t> free(entries);
    for (size_t i = 0; i < entries; ++i) free[i] = static_cast<int32_t>(i);
    std::shuffle(free.begin(), free.end(), std::mt19937(5));
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int p = first_seen(s); p < sequences_[s].context; ++p) {
        int32_t& entry =
            table_[s * static_cast<size_t>(table_stride_) + static_cast<size_t>(p / options_.block_tokens)];
        if (entry >= 0) continue;
        entry = free.back();
        free.pop_back();
      }
    }
  }

  int first_seen(size_t s) const {
    if (options_.sliding_window == 0) return 0;
    return std::max(0, sequences_[s].context - sequences_[s].tokens - options_.sliding_window + 1);
  }

  void make_cache() {
    const size_t blocks = static_cast<size_t>(table_stride_) * sequences_.size();
    keys_.resize(blocks * layout_.block_bytes());
    values_.resize(keys_.size());
    // Finite, and huge, in each of the formats; as a scale too.
    const auto high = static_cast<std::byte>(options_.dtype == DType::kF16 ? 0x7b : 0x7e);
    const auto low = options_.dtype == DType::kF8 ? high : std::byte{0xff};
    for (size_t i = 0; i < keys_.size(); ++i) keys_[i] = values_[i] = i % 2 == 0 ? low : high;
    const KvView cache = view();
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> head(static_cast<size_t>(shape_.head_size));
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int p = first_seen(s); p < sequences_[s].context; ++p) {
        const int64_t slot = int64_t{table_[s * static_cast<size_t>(table_stride_) +
                                            static_cast<size_t>(p / options_.block_tokens)]} *
                                 options_.block_tokens +
                             p % options_.block_tokens;
        for (int h = 0; h < shape_.kv_heads; ++h) {
          for (float& v : head) v = 1.5F * normal(random);
          reference::store_key(cache, slot, h, head.data());
          for (float& v : head) v = normal(random) + 0.5F;
          reference::store_value(cache, slot, h, head.data());
        }
      }
    }
  }

  KvView view() {
    return {layout_, keys_.data(), values_.data(),
            static_cast<int64_t>(keys_.size() / layout_.block_bytes())};
  }

  std::vector<float> reference() {
    std::vector<int32_t> positions;
    for (const Sequence& s : sequences_) {
      for (int p = s.context - s.tokens; p < s.context; ++p) positions.push_back(p);
    }
    const StepBatch batch{.token_ids = positions,
                          .positions = positions,
                          .query_start = query_start_,
                          .context_lengths = contexts_,
                          .block_table = table_,
                          .block_table_stride = table_stride_};
    const int64_t tokens = query_start_.back();
    std::vector<float> want(static_cast<size_t>(tokens * out_columns()));
    TensorView qkv = TensorView::of(qkv_.data(), DType::kF32, tokens, qkv_stride_);
    reference::attention(batch, shape_, qkv, view(),
                         TensorView::of(want.data(), DType::kF32, tokens, out_columns()));
    return want;
  }

  Options options_;
  std::vector<Sequence> sequences_;
  AttentionShape shape_;
  KvLayout layout_;
  std::vector<int32_t> query_start_, contexts_, table_;
  int table_stride_ = 0, qkv_stride_ = 0;
  std::vector<std::byte> keys_, values_;
  std::vector<float> qkv_, want_;
};

Case against_reference(std::string name, Options options, std::vector<Sequence> sequences) {
  // Made at the first run, and kept: cases are run many times.
  const auto world = std::make_shared<std::optional<World>>();
  return {std::move(name), [=] {
            if (!*world) world->emplace(options, sequences);
            return (*world)->check((*world)->plan());
          }};
}

// Splits without a key, in the middle and at the end, count for nothing.
std::string empty_splits() {
  World world({.group = 3}, {{40, 1}});
  AttentionPlan plan = world.plan();
  const DecodeWork whole = plan.decode.at(0);
  plan.decode.clear();
  const int edges[] = {0, 32, 32, 40, 40};
  for (int s = 0; s < 4; ++s) {
    DecodeWork work = whole;
    work.split = static_cast<int16_t>(s);
    work.splits = 4;
    work.first_key = s == 3 ? 48 : edges[s];
    work.end_key = edges[s + 1];
    plan.decode.push_back(work);
  }
  plan.partial_rows = int64_t{4} * world.shape().kv_heads * 3;
  return world.check(plan);
}

// A sequence decoded in company has the bits that it has alone.
std::string alone_as_in_company(DType dtype) {
  const World world({.dtype = dtype, .deterministic = true}, {{300, 1}, {17, 1}, {531, 1}, {1, 1}});
  const std::vector<uint16_t> together = world.run(world.plan());
  const auto columns = static_cast<ptrdiff_t>(world.out_columns());
  for (size_t s = 0; s < world.sequences().size(); ++s) {
    const World one = world.part_of(s, world.sequences()[s].context, 1);
    const auto row = together.begin() + static_cast<ptrdiff_t>(s) * columns;
    if (one.run(one.plan()) != std::vector<uint16_t>(row, row + columns))
      return fmt::format("sequence {} differs when it is alone", s);
  }
  return "";
}

// A prompt prefilled in chunks has the bits that it has in one.
std::string chunks_as_whole(Options options, const std::vector<int>& chunks) {
  options.deterministic = true;
  int total = 0;
  for (const int tokens : chunks) total += tokens;
  const World world(options, {{25, 25}, {total, total}});
  const std::vector<uint16_t> whole = world.run(world.plan());
  const auto columns = static_cast<ptrdiff_t>(world.out_columns());
  auto row = whole.begin() + 25 * columns;
  int context = 0;
  for (const int tokens : chunks) {
    context += tokens;
    const World chunk = world.part_of(1, context, tokens);
    if (chunk.run(chunk.plan()) != std::vector<uint16_t>(row, row + tokens * columns))
      return fmt::format("the chunk that ends at {} differs", context);
    row += tokens * columns;
  }
  return "";
}

}  // namespace

void add_attention_cases(std::vector<Case>& cases) {
  const std::vector<Sequence> decodes = {{1, 1}, {16, 1}, {17, 1}, {150, 1}, {300, 1}};
  const std::vector<Sequence> prefills = {{1, 1}, {19, 19}, {90, 37}, {65, 1}};
  int group = 1;
  for (const int head_size : {64, 80, 96, 128, 256}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF8}) {
      const std::string name = fmt::format("{}_{}", name_of(dtype), head_size);
      const Options options{.dtype = dtype, .head_size = head_size, .kv_heads = 1, .group = group};
      cases.push_back(against_reference("decode_" + name, options, decodes));
      cases.push_back(against_reference("mixed_step_" + name, options, prefills));
      group = group % 8 + 1;
    }
  }
  for (const int g : {1, 2, 3, 4, 5, 6, 7, 8}) {
    cases.push_back(against_reference(fmt::format("decode_group_{}", g), {.group = g, .blocks = 1 + g % 2},
                                      {{2, 1}, {33, 1}, {257, 1}, {100, 1}, {64, 1}}));
    cases.push_back(against_reference(fmt::format("few_tokens_group_{}", g), {.group = g, .block_tokens = 32},
                                      {{70, 16 / g}, {16 / g, 16 / g}, {260, 2}}));
    cases.push_back(against_reference(fmt::format("prefill_group_{}", g), {.group = g, .block_tokens = 32},
                                      {{80, 40}, {18, 17}}));
  }
  for (const int window : {1, 5, 16, 40, 100}) {
    for (const DType dtype : {DType::kBF16, DType::kF8}) {
      const std::string name = fmt::format("window_{}_{}", window, name_of(dtype));
      const Options options{.dtype = dtype, .kv_heads = 1, .sliding_window = window};
      cases.push_back(against_reference("decode_" + name, options, {{150, 1}, {3, 1}, {300, 4}, {49, 2}}));
      cases.push_back(against_reference("prefill_" + name, options, {{150, 50}, {20, 20}}));
    }
  }
  cases.push_back(
      against_reference("decode_longest_row", {.kv_heads = 1, .group = 2, .block_tokens = 64}, {{4500, 1}}));
  cases.push_back(against_reference("decode_longest_row_f8", {.dtype = DType::kF8, .kv_heads = 1, .group = 8},
                                    {{2100, 1}}));
  cases.push_back({"decode_empty_splits", empty_splits});
  for (const DType dtype : {DType::kBF16, DType::kF8}) {
    cases.push_back({fmt::format("single_tokens_alone_as_in_company_{}", name_of(dtype)),
                     [=] { return alone_as_in_company(dtype); }});
    cases.push_back({fmt::format("prefill_chunks_as_whole_{}", name_of(dtype)), [=] {
                       return chunks_as_whole({.dtype = dtype, .group = 3}, {30, 1, 62, 1, 6});
                     }});
  }
  cases.push_back(
      {"prefill_chunks_as_whole_window", [] {
         return chunks_as_whole({.group = 8, .block_tokens = 32, .sliding_window = 21}, {45, 3, 40});
       }});
}

}  // namespace sluice::cuda::testing
