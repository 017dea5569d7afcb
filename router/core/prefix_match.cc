#include "router/core/prefix_match.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace sluice::router {
namespace {

constexpr size_t kStops = 16;  // of the first round, over the whole chain
constexpr size_t kGaps = 8;    // narrowed in one round
constexpr size_t kPlaces = 5;  // asked within each
static_assert(kStops <= PrefixIndex::kMaxAsked && kGaps * kPlaces <= PrefixIndex::kMaxAsked);

// Who holds the first `pieces` of the chain, as far as the last of them tells.
struct Stop {
  size_t pieces = 0;
  PrefixIndex::Answer answer;
};

class Matcher {
 public:
  Matcher(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index, TextDictionary& dictionary,
          PrefixMatch& match)
      : chain_(chain), rate_(tokens_per_byte), index_(index), dictionary_(dictionary), match_(match) {}

  void begin();

 private:
  // Of these only `next.answer.holders` hold `next`: somewhere between the others end.
  struct Gap {
    size_t from;
    HolderSet low;
    Stop next;
  };

  // `low` hold `from` pieces: tells of each how many they hold.
  void search(size_t from, const HolderSet& low);
  size_t pieces() const { return chain_.hashes.size(); }
  bool is_text() const { return chain_.kind == PromptChain::Kind::kText; }
  void ask(std::span<Stop> stops);
  void split(size_t from, HolderSet low, std::span<const Stop> stops);
  void narrow();
  void close(const Gap& gap);
  void assign(const HolderSet& holders, size_t pieces);
  uint32_t tokens(size_t pieces) const;

  const PromptChain& chain_;
  const double rate_;
  PrefixIndex& index_;
  TextDictionary& dictionary_;
  PrefixMatch& match_;
  std::vector<Gap> gaps_;
};

// All at once, so that what the answers wait for overlaps.
void Matcher::ask(std::span<Stop> stops) {
  constexpr size_t kMost = PrefixIndex::kMaxAsked;
  std::array<uint64_t, kMost> hashes;
  std::array<PrefixIndex::Answer, kMost> answers{};
  const size_t count = stops.size();
  for (size_t i = 0; i < count; ++i) hashes[i] = chain_.hashes[stops[i].pieces - 1];
  index_.add_holders_of(std::span(hashes).first(count), std::span(answers).first(count));
  match_.probes += static_cast<int>(count);
  ++match_.rounds;
  if (is_text()) {
    std::array<TextDictionary::Meaning, kMost> meanings;
    dictionary_.find_all(std::span(hashes).first(count), std::span(meanings).first(count));
    for (size_t i = 0; i < count; ++i) hashes[i] = meanings[i].block;
    // A chunk without a meaning asks for block 0, which nobody has.
    index_.add_holders_of(std::span(hashes).first(count), std::span(answers).first(count));
  }
  for (size_t i = 0; i < count; ++i) stops[i].answer = answers[i];
}

void Matcher::assign(const HolderSet& holders, size_t pieces) {
  if (holders.none()) return;
  const uint32_t held = tokens(pieces);
  match_.longest = std::max(match_.longest, held);
  match_.longest_pieces = std::max(match_.longest_pieces, pieces);
  for (size_t h = holders._Find_first(); h < kMaxHolders; h = holders._Find_next(h)) match_.tokens[h] = held;
  match_.holders |= holders;
}

uint32_t Matcher::tokens(size_t pieces) const {
  if (!is_text()) return static_cast<uint32_t>(pieces) * chain_.unit;
  if (const auto meaning = dictionary_.find(chain_.hashes[pieces - 1])) return meaning->tokens;
  return static_cast<uint32_t>(static_cast<double>(pieces) * chain_.unit * rate_);
}

// Gaps between `from` and the stops behind it, where the holders become fewer. What is held deeper is held
// before: a stop forgets nobody that a later one has, for the index may not have recorded all holders of a
// hot block.
void Matcher::split(size_t from, HolderSet low, std::span<const Stop> stops) {
  for (const Stop& stop : stops) {
    if (low == stop.answer.holders) {
      from = stop.pieces;
      continue;
    }
    const Gap gap{from, low, stop};
    if (stop.pieces == from + 1)
      close(gap);
    else
      gaps_.push_back(gap);
    from = stop.pieces;
    low = stop.answer.holders;
  }
}

void Matcher::narrow() {
  std::array<Stop, kGaps*(kPlaces + 1)> stops;
  std::array<size_t, kGaps> counts;
  while (!gaps_.empty()) {
    const size_t gaps = std::min(gaps_.size(), kGaps);
    const std::vector<Gap> taken(gaps_.end() - static_cast<ptrdiff_t>(gaps), gaps_.end());
    gaps_.resize(gaps_.size() - gaps);
    size_t asked = 0;
    for (size_t g = 0; g < gaps; ++g) {
      const size_t span = taken[g].next.pieces - taken[g].from;
      counts[g] = std::min(span - 1, kPlaces);
      for (size_t i = 1; i <= counts[g]; ++i) {
        stops[asked++] = {taken[g].from + span * i / (counts[g] + 1), {}};
      }
    }
    ask(std::span(stops).first(asked));
    size_t at = 0;
    for (size_t g = 0; g < gaps; ++g) {
      std::array<Stop, kPlaces + 1> own;
      std::ranges::copy(std::span(stops).subspan(at, counts[g]), own.begin());
      own[counts[g]] = taken[g].next;
      for (size_t i = counts[g]; i-- > 0;) {
        own[i].answer.holders = (own[i].answer.holders & taken[g].low) | own[i + 1].answer.holders;
      }
      split(taken[g].from, taken[g].low, std::span(own).first(counts[g] + 1));
      at += counts[g];
    }
  }
}

// Nothing lies between: these end at gap.from, unless the budget took the piece behind it and they go on.
void Matcher::close(const Gap& gap) {
  HolderSet ending = gap.low & ~gap.next.answer.holders;
  if (!gap.next.answer.known && gap.next.pieces < pieces()) {
    Stop behind{gap.next.pieces + 1, {}};
    ask({&behind, 1});
    const HolderSet on = behind.answer.holders & ending;
    if (on.any()) Matcher(chain_, rate_, index_, dictionary_, match_).search(behind.pieces, on);
    ending &= ~on;
  }
  assign(ending, gap.from);
}

void Matcher::search(size_t from, const HolderSet& low) {
  // Evenly over the chain, and near its front as well: most prompts that are new leave what is held soon.
  std::array<Stop, kStops> stops;
  size_t count = 0;
  const size_t span = pieces() - from;
  for (size_t i = 1; i <= kStops && count < span; ++i) {
    const size_t place = from + std::max(span * i / kStops, i);
    if (place > pieces()) break;
    stops[count++] = {place, {}};
  }
  ask(std::span(stops).first(count));
  HolderSet on;
  for (size_t i = count; i-- > 0;) {
    on = stops[i].answer.holders = (stops[i].answer.holders & low) | on;
  }
  const size_t last = count == 0 ? from : stops[count - 1].pieces;
  assign(count == 0 ? low : stops[count - 1].answer.holders, last);
  split(from, low, std::span(stops).first(count));
  narrow();
}

void Matcher::begin() {
  std::array<Stop, 2> front{{{1, {}}, {2, {}}}};
  const std::span<Stop> asked = std::span(front).first(std::min<size_t>(2, pieces()));
  ask(asked);
  HolderSet first = front[0].answer.holders;
  if (!front[0].answer.known && asked.size() > 1) first = front[1].answer.holders;  // the budget took it
  search(1, first);
}

}  // namespace

void match_prefix(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index,
                  TextDictionary& dictionary, PrefixMatch& match) {
  match.tokens.fill(0);
  match.holders.reset();
  match.longest = 0;
  match.longest_pieces = 0;
  match.probes = match.rounds = 0;
  if (chain.hashes.empty()) return;
  Matcher matcher(chain, tokens_per_byte, index, dictionary, match);
  matcher.begin();
}

void place_prompt(const PromptChain& chain, HolderId holder, Tick when, PrefixIndex& index,
                  TextDictionary& dictionary) {
  uint64_t parent = 0;
  for (const uint64_t hash : chain.hashes) {
    index.place(holder, hash, parent, when);
    parent = hash;
    if (chain.kind != PromptChain::Kind::kText) continue;
    if (const auto meaning = dictionary.find(hash)) {
      dictionary.touch(hash);
      index.touch(meaning->block);
    }
  }
}

}  // namespace sluice::router
