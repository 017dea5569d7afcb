#include "router/core/prefix_match.h"

#include <algorithm>
#include <span>

namespace sluice::router {
namespace {

// Of the gallop: between stops whose holders are the same nothing more is asked.
constexpr size_t kStride = 4;

// Answers for a chain who holds its first i pieces, and how many tokens these are.
class Prober {
 public:
  Prober(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index, TextDictionary& dictionary,
         PrefixMatch& match)
      : chain_(chain), rate_(tokens_per_byte), index_(index), dictionary_(dictionary), match_(match) {}

  // Who holds the first `pieces`.
  HolderSet holders(size_t pieces) {
    HolderSet set;
    last_known_ = add_holders(pieces, set) ? pieces : 0;
    if (last_known_ == 0) last_unknown_ = pieces;
    return set;
  }
  // Does the index know the last of them at all?
  bool known(size_t pieces) {
    if (last_unknown_ == pieces) return false;
    HolderSet set;
    return last_known_ == pieces || add_holders(pieces, set);
  }
  size_t pieces() const { return chain_.hashes.size(); }
  // Before some questions: their cache misses overlap.
  void prefetch(std::span<const size_t> asked) const {
    for (const size_t pieces : asked) index_.prefetch(chain_.hashes[pieces - 1]);
    for (const size_t pieces : asked) index_.prefetch_entry(chain_.hashes[pieces - 1]);
  }

  void assign(const HolderSet& holders, size_t pieces) {
    if (holders.none()) return;
    const uint32_t held = tokens(pieces);
    match_.longest = std::max(match_.longest, held);
    match_.longest_pieces = std::max(match_.longest_pieces, pieces);
    for (size_t h = holders._Find_first(); h < kMaxHolders; h = holders._Find_next(h)) {
      match_.tokens[h] = held;
    }
    match_.holders |= holders;
  }

 private:
  bool add_holders(size_t pieces, HolderSet& set) {
    ++match_.probes;
    const uint64_t hash = chain_.hashes[pieces - 1];
    bool known = index_.add_holders_of(hash, set);
    if (chain_.kind == PromptChain::Kind::kText) {
      if (const auto meaning = dictionary_.find(hash)) known |= index_.add_holders_of(meaning->block, set);
    }
    return known;
  }

  uint32_t tokens(size_t pieces) {
    if (chain_.kind == PromptChain::Kind::kBlocks) return static_cast<uint32_t>(pieces) * chain_.unit;
    if (const auto meaning = dictionary_.find(chain_.hashes[pieces - 1])) return meaning->tokens;
    return static_cast<uint32_t>(static_cast<double>(pieces) * chain_.unit * rate_);
  }

  size_t last_known_ = 0, last_unknown_ = 0;  // of the last questions
  const PromptChain& chain_;
  const double rate_;
  PrefixIndex& index_;
  TextDictionary& dictionary_;
  PrefixMatch& match_;
};

void search(Prober& prober, size_t from, HolderSet low);

// `high` of `low` hold `to` pieces and not only `from`: tells where the others end.
void bisect(Prober& prober, size_t from, const HolderSet& low, size_t to, const HolderSet& high) {
  if (low == high) return;
  if (to > from + 1) {
    // Three at once rather than one after another: half the rounds of cache misses.
    const size_t span = to - from;
    std::array<size_t, 3> asked = {from + span / 4, from + span / 2, from + span - span / 4};
    const size_t first = span < 4 ? 1 : 0, last = span < 4 ? 1 : 2;
    if (span >= 4) prober.prefetch(asked);
    size_t below = from;
    HolderSet holding = low;
    for (size_t i = first; i <= last && holding != high; ++i) {
      const HolderSet set = (prober.holders(asked[i]) & holding) | high;
      bisect(prober, below, holding, asked[i], set);
      below = asked[i];
      holding = set;
    }
    return bisect(prober, below, holding, to, high);
  }
  HolderSet ending = low & ~high;
  if (!prober.known(to) && to < prober.pieces()) {  // did the budget take it, and they go on behind?
    const HolderSet on = prober.holders(to + 1) & ending;
    if (on.any()) search(prober, to + 1, on);
    ending &= ~on;
  }
  prober.assign(ending, from);
}

// `low` hold `from` pieces: tells of each how many they hold. Gallops to where nobody is left, then looks at
// the places between. What is held deeper is held before: a set forgets nobody that a later one has, for the
// index may not have recorded all holders of a hot block.
void search(Prober& prober, size_t from, HolderSet low) {
  struct Stop {
    size_t pieces;
    HolderSet holders;
  };
  std::array<Stop, 34> stops;
  std::array<size_t, 34> asked;
  size_t count = 1;
  asked[0] = from;
  for (size_t step = kStride - 1; asked[count - 1] < prober.pieces(); step *= kStride) {
    asked[count] = std::min(asked[count - 1] + step, prober.pieces());
    ++count;
  }
  prober.prefetch(std::span(asked).subspan(1, count - 1));
  stops[0] = {from, low};
  for (size_t i = 1; i < count; ++i) {
    stops[i] = {asked[i], prober.holders(asked[i])};
    if (stops[i].holders.none()) count = i + 1;
  }
  for (size_t i = count - 1; i > 0; --i) stops[i - 1].holders |= stops[i].holders;
  prober.assign(stops[count - 1].holders, stops[count - 1].pieces);
  for (size_t i = 0; i + 1 < count; ++i) {
    bisect(prober, stops[i].pieces, stops[i].holders, stops[i + 1].pieces, stops[i + 1].holders);
  }
}

}  // namespace

void match_prefix(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index,
                  TextDictionary& dictionary, PrefixMatch& match) {
  match.tokens.fill(0);
  match.holders.reset();
  match.longest = 0;
  match.longest_pieces = 0;
  match.probes = 0;
  if (chain.hashes.empty()) return;
  Prober prober(chain, tokens_per_byte, index, dictionary, match);
  HolderSet first = prober.holders(1);
  if (!prober.known(1) && prober.pieces() > 1) first = prober.holders(2);
  search(prober, 1, first);
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
