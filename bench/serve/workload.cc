#include "bench/serve/workload.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>

#include "bench/serve/random.h"

namespace sluice::bench {
namespace {

// Purposes of draws: each has its own stream, so that one field's change leaves the others' draws alone.
enum Purpose : uint64_t { kPart = 10, kLengths, kText, kShared, kThink, kCancel, kPlace };

constexpr std::pair<Source, std::string_view> kSources[] = {
    {Source::kRandom, "random"},
    {Source::kShareGpt, "sharegpt"},
    {Source::kCustom, "custom"},
    {Source::kMooncake, "mooncake"},
    {Source::kAzure, "azure"},
    {Source::kBurstGpt, "burstgpt"},
    {Source::kPrefixRepetition, "prefix_repetition"},
    {Source::kPrefixTree, "prefix_tree"},
    {Source::kSessions, "sessions"},
};

constexpr size_t kMaxLevels = 16;
constexpr int64_t kMaxTurns = 1000;

Error wrong_field(const char* name, const std::string& what) {
  return invalid_argument(name, std::string(name) + " " + what);
}

Result<std::vector<uint32_t>> parse_levels(const char* name, std::string_view text) {
  std::vector<uint32_t> levels;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view number = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || end != number.data() + number.size() || value == 0 || value > 1'000'000 ||
        levels.size() == kMaxLevels)
      return wrong_field(name, "must be up to 16 numbers from 1 to 1000000 with commas between, as in 4,4.");
    levels.push_back(value);
  }
  if (levels.empty()) return wrong_field(name, "must not be empty.");
  return levels;
}

Status check_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return wrong_field(name, "must be from " + std::to_string(low) + " to " + std::to_string(high) +
                               "; it is " + std::to_string(value) + ".");
}

Status check(const PartSpec& spec) {
  SLUICE_TRY(check_range("random_input_len", spec.random_input_len, 1, kMaxTokens));
  SLUICE_TRY(check_range("random_output_len", spec.random_output_len, 1, kMaxTokens));
  SLUICE_TRY(check_range("random_prefix_len", spec.random_prefix_len, 0, kMaxTokens));
  SLUICE_TRY(check_range("sharegpt_output_len", spec.sharegpt_output_len, 0, kMaxTokens));
  SLUICE_TRY(check_range("custom_output_len", spec.custom_output_len, 1, kMaxTokens));
  SLUICE_TRY(check_range("prefix_repetition_prefix_len", spec.prefix_repetition_prefix_len, 0, kMaxTokens));
  SLUICE_TRY(check_range("prefix_repetition_suffix_len", spec.prefix_repetition_suffix_len, 1, kMaxTokens));
  SLUICE_TRY(
      check_range("prefix_repetition_num_prefixes", spec.prefix_repetition_num_prefixes, 1, 1'000'000'000));
  SLUICE_TRY(check_range("prefix_repetition_output_len", spec.prefix_repetition_output_len, 1, kMaxTokens));
  SLUICE_TRY(check_range("session_turns", spec.session_turns, 1, kMaxTurns));
  SLUICE_TRY(check_range("priority", spec.priority, -1'000'000, 1'000'000));
  if (!std::ranges::all_of(spec.tenant, [](char c) { return c > 0x20 && c < 0x7f; }))
    return wrong_field("tenant", "must be of ASCII without spaces.");
  if (!(spec.random_range_ratio >= 0 && spec.random_range_ratio < 1))
    return wrong_field("random_range_ratio", "must be from 0 to below 1.");
  if (!(spec.share > 0 && std::isfinite(spec.share))) return wrong_field("share", "must be above 0.");
  if (!(spec.cancel_share >= 0 && spec.cancel_share <= 1))
    return wrong_field("cancel_share", "must be from 0 to 1.");
  if (!(spec.trace_speed > 0 && std::isfinite(spec.trace_speed)))
    return wrong_field("trace_speed", "must be above 0.");
  if (!(spec.session_think_s >= 0 && spec.session_think_s <= 86400))
    return wrong_field("session_think_s", "must be from 0 to 86400 seconds.");
  return {};
}

bool is_trace(Source source) {
  return source == Source::kMooncake || source == Source::kAzure || source == Source::kBurstGpt;
}
bool has_file(Source source) {
  return is_trace(source) || source == Source::kShareGpt || source == Source::kCustom;
}

}  // namespace

Result<Source> parse_source(std::string_view name) {
  std::string known;
  for (const auto& [source, its_name] : kSources) {
    if (its_name == name) return source;
    known.append(known.empty() ? "" : ", ").append(its_name);
  }
  return wrong_field("dataset_name",
                     "'" + std::string(name.substr(0, 40)) + "' is not one of " + known + ".");
}

std::string_view name_of(Source source) {
  return std::ranges::find(kSources, source, &std::pair<Source, std::string_view>::first)->second;
}

struct Workload::Part {
  PartSpec spec;
  Source source = Source::kRandom;
  Trace trace;
  std::vector<Conversation> conversations;
  std::vector<uint32_t> branching, level_lens;

  static Result<std::shared_ptr<const Part>> load(const PartSpec& spec);
  Session make(uint64_t seed, uint64_t number, double bytes_per_token) const;

 private:
  uint32_t length(Random& random, int64_t tokens) const;
  Turn plain_turn(Random& lengths, uint64_t text_seed) const;
  void add_conversation(Session& session, uint64_t seed, uint64_t number, double bytes_per_token) const;
  void add_trace_row(Session& session, uint64_t seed, uint64_t number) const;
  void add_prefixed(Session& session, uint64_t seed, uint64_t number) const;
  void add_branch(Session& session, uint64_t seed, uint64_t number) const;
  void add_dialogue(Session& session, uint64_t seed, uint64_t number) const;
};

Result<std::shared_ptr<const Workload::Part>> Workload::Part::load(const PartSpec& spec) {
  SLUICE_TRY(check(spec));
  Part part{.spec = spec};
  SLUICE_ASSIGN(part.source, parse_source(spec.dataset_name));
  SLUICE_ASSIGN(part.branching, parse_levels("tree_branching", spec.tree_branching));
  SLUICE_ASSIGN(part.level_lens, parse_levels("tree_lens", spec.tree_lens));
  if (part.branching.size() != part.level_lens.size())
    return wrong_field("tree_lens", "must have as many numbers as tree_branching.");
  if (has_file(part.source)) {
    if (spec.dataset_path.empty())
      return wrong_field("dataset_path", "is missing: dataset_name " + spec.dataset_name + " reads a file.");
    SLUICE_ASSIGN(const std::string text, read_whole_file(spec.dataset_path));
    const std::string& name = spec.dataset_path;
    if (part.source == Source::kMooncake) {
      SLUICE_ASSIGN(part.trace, parse_mooncake(text, name));
    } else if (part.source == Source::kAzure) {
      SLUICE_ASSIGN(part.trace, parse_azure(text, name));
    } else if (part.source == Source::kBurstGpt) {
      SLUICE_ASSIGN(part.trace, parse_burstgpt(text, name));
    } else if (part.source == Source::kShareGpt) {
      SLUICE_ASSIGN(part.conversations, parse_sharegpt(text, name));
    } else {
      SLUICE_ASSIGN(part.conversations, parse_custom(text, name));
    }
  }
  return std::make_shared<const Part>(std::move(part));
}

uint32_t Workload::Part::length(Random& random, int64_t tokens) const {
  const double reach = static_cast<double>(tokens) * spec.random_range_ratio;
  const auto low = static_cast<uint64_t>(std::max(1.0, std::floor(static_cast<double>(tokens) - reach)));
  const auto high = static_cast<uint64_t>(std::ceil(static_cast<double>(tokens) + reach));
  return static_cast<uint32_t>(random.between(low, std::max(low, high)));
}

Turn Workload::Part::plain_turn(Random& lengths, uint64_t text_seed) const {
  Turn turn;
  turn.pieces = {{text_seed, length(lengths, spec.random_input_len)}};
  turn.output_tokens = length(lengths, spec.random_output_len);
  return turn;
}

Session Workload::Part::make(uint64_t seed, uint64_t number, double bytes_per_token) const {
  Session session;
  Random lengths(seed, kLengths, number);
  switch (source) {
    case Source::kRandom: {
      Turn turn = plain_turn(lengths, Random(seed, kText, number).next());
      if (spec.random_prefix_len > 0) {
        turn.pieces.insert(turn.pieces.begin(),
                           {Random(seed, kShared, 0).next(), static_cast<uint32_t>(spec.random_prefix_len)});
      }
      session.turns.push_back(std::move(turn));
      break;
    }
    case Source::kShareGpt:
    case Source::kCustom:
      add_conversation(session, seed, number, bytes_per_token);
      break;
    case Source::kMooncake:
    case Source::kAzure:
    case Source::kBurstGpt:
      add_trace_row(session, seed, number);
      break;
    case Source::kPrefixRepetition:
      add_prefixed(session, seed, number);
      break;
    case Source::kPrefixTree:
      add_branch(session, seed, number);
      break;
    case Source::kSessions:
      add_dialogue(session, seed, number);
      break;
  }
  if (spec.cancel_share > 0) {
    Random cancel(seed, kCancel, number);
    for (Turn& turn : session.turns) {
      if (cancel.unit() >= spec.cancel_share) continue;
      turn.cancel_after = static_cast<uint32_t>(cancel.between(1, std::max(1u, turn.output_tokens)));
    }
  }
  return session;
}

// Without putting back, as long as there are some: round r takes them in the r-th shuffled order, which an
// affine map over the next power of two gives without a table.
void Workload::Part::add_conversation(Session& session, uint64_t seed, uint64_t number,
                                      double bytes_per_token) const {
  const uint64_t count = conversations.size();
  Random order(seed, kPlace, number / count);
  const uint64_t mask = std::bit_ceil(count) - 1;
  const uint64_t factor = order.next() | 1, offset = order.next();
  uint64_t place = number % count;
  do {
    place = ((place * factor + offset) ^ (mask >> 1)) & mask;
  } while (place >= count);
  // vLLM's tool, which others are compared with, asks each conversation's first question alone.
  const Exchanged& first = conversations[place].front();
  Turn turn{.text = first.ask};
  const double guess = std::ceil(static_cast<double>(first.answer.size()) / bytes_per_token);
  if (source == Source::kShareGpt && spec.sharegpt_output_len > 0)
    turn.output_tokens = static_cast<uint32_t>(spec.sharegpt_output_len);
  else if (first.output_tokens > 0)
    turn.output_tokens = first.output_tokens;
  else if (source == Source::kCustom)
    turn.output_tokens = static_cast<uint32_t>(spec.custom_output_len);
  else
    turn.output_tokens = static_cast<uint32_t>(std::clamp(guess, 1.0, 100'000.0));
  session.turns.push_back(std::move(turn));
}

// Equal ids are equal text; where a trace has none, nothing is shared. The seed changes the text, not the
// trace.
void Workload::Part::add_trace_row(Session& session, uint64_t seed, uint64_t number) const {
  const TraceRow& row = trace.rows[number];
  session.at_s = row.at_s / spec.trace_speed;
  Turn turn{.output_tokens = row.output_tokens};
  uint32_t left = row.input_tokens;
  for (const uint64_t id : trace.hashes(row)) {
    const uint32_t tokens = std::min(left, trace.block_tokens);
    if (tokens == 0) break;
    turn.pieces.push_back({Random(seed, kShared, id).next(), tokens});
    left -= tokens;
  }
  if (left > 0) turn.pieces.push_back({Random(seed, kText, number).next(), left});
  session.turns.push_back(std::move(turn));
}

void Workload::Part::add_prefixed(Session& session, uint64_t seed, uint64_t number) const {
  const uint64_t prefix =
      Random(seed, kPlace, number).below(static_cast<uint64_t>(spec.prefix_repetition_num_prefixes));
  Turn turn{.output_tokens = static_cast<uint32_t>(spec.prefix_repetition_output_len)};
  if (spec.prefix_repetition_prefix_len > 0)
    turn.pieces.push_back(
        {Random(seed, kShared, prefix).next(), static_cast<uint32_t>(spec.prefix_repetition_prefix_len)});
  turn.pieces.push_back(
      {Random(seed, kText, number).next(), static_cast<uint32_t>(spec.prefix_repetition_suffix_len)});
  session.turns.push_back(std::move(turn));
}

void Workload::Part::add_branch(Session& session, uint64_t seed, uint64_t number) const {
  Random way(seed, kPlace, number), lengths(seed, kLengths, number);
  Turn turn = plain_turn(lengths, Random(seed, kText, number).next());
  std::vector<Piece> pieces;
  uint64_t node = 1;
  for (size_t level = 0; level < branching.size(); ++level) {
    node = hash_combine(node, way.below(branching[level]));
    pieces.push_back({Random(seed, kShared, node).next(), level_lens[level]});
  }
  turn.pieces.insert(turn.pieces.begin(), pieces.begin(), pieces.end());
  session.turns.push_back(std::move(turn));
}

void Workload::Part::add_dialogue(Session& session, uint64_t seed, uint64_t number) const {
  Random lengths(seed, kLengths, number), text(seed, kText, number), think(seed, kThink, number);
  for (int64_t i = 0; i < spec.session_turns; ++i) {
    Turn turn = plain_turn(lengths, text.next());
    if (i > 0) turn.think_s = spec.session_think_s > 0 ? think.exponential(spec.session_think_s) : 0;
    if (i == 0 && spec.random_prefix_len > 0) {
      turn.pieces.insert(turn.pieces.begin(),
                         {Random(seed, kShared, 0).next(), static_cast<uint32_t>(spec.random_prefix_len)});
    }
    session.turns.push_back(std::move(turn));
  }
}

Result<Workload> Workload::load(std::vector<PartSpec> parts, uint64_t seed) {
  if (parts.empty()) return wrong_field("parts", "must not be empty.");
  Workload workload;
  workload.seed_ = seed;
  double sum = 0;
  for (const PartSpec& spec : parts) {
    SLUICE_ASSIGN(auto part, Part::load(spec));
    if (is_trace(part->source)) {
      if (parts.size() > 1) return wrong_field("parts", "with a trace must be that trace alone.");
      workload.size_ = part->trace.rows.size();
      workload.has_times_ = true;
    }
    workload.parts_.push_back(std::move(part));
    workload.cumulative_.push_back(sum += spec.share);
  }
  workload.specs_ = std::move(parts);
  return workload;
}

size_t Workload::choose_part(uint64_t number) const {
  if (parts_.size() == 1) return 0;
  const double draw = Random(seed_, kPart, number).unit() * cumulative_.back();
  const auto found = std::ranges::upper_bound(cumulative_, draw) - cumulative_.begin();
  return std::min(static_cast<size_t>(found), parts_.size() - 1);
}

Session Workload::session(uint64_t number) const {
  const size_t part = choose_part(number);
  Session session = parts_[part]->make(seed_, number, bytes_per_token_);
  session.part = part;
  return session;
}

Workload Workload::with_seed(uint64_t seed) const {
  Workload other = *this;
  other.seed_ = seed;
  return other;
}

bool Workload::shares_nothing() const {
  return std::ranges::all_of(parts_, [](const auto& part) {
    return part->source == Source::kRandom && part->spec.random_prefix_len == 0;
  });
}

std::string Workload::sample_text(size_t bytes) const {
  std::string sample;
  for (const auto& part : parts_) {
    for (const Conversation& conversation : part->conversations) {
      if (sample.size() >= bytes) return sample;
      sample += conversation.front().answer;
    }
  }
  return sample;
}

}  // namespace sluice::bench
