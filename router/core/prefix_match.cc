#include "router/core/prefix_match.h"

#include <algorithm>

namespace sluice::router {
namespace {

// Answers for a chain who holds its first i pieces, and how many tokens these are.
class Prober {
 public:
  Prober(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index, TextDictionary& dictionary,
         PrefixMatch& match)
      : chain_(chain), rate_(tokens_per_byte), index_(index), dictionary_(dictionary), match_(match) {}

  HolderSet holders(size_t pieces) {
    HolderSet set;
    if (!add_holders(pieces, set) && pieces < chain_.hashes.size()) add_holders(pieces + 1, set);
    return set;
  }

  void assign(const HolderSet& holders, size_t pieces) {
    if (holders.none()) return;
    const uint32_t held = tokens(pieces);
    match_.longest = std::max(match_.longest, held);
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

  const PromptChain& chain_;
  const double rate_;
  PrefixIndex& index_;
  TextDictionary& dictionary_;
  PrefixMatch& match_;
};

// Who of `low` (holders of the first `from` pieces) ends where before `to`, which `high` still hold.
void bisect(Prober& prober, size_t from, const HolderSet& low, size_t to, const HolderSet& high) {
  if (low == high) return;
  if (to == from + 1) return prober.assign(low & ~high, from);
  const size_t middle = from + (to - from) / 2;
  const HolderSet set = (prober.holders(middle) & low) | high;
  bisect(prober, from, low, middle, set);
  bisect(prober, middle, set, to, high);
}

}  // namespace

void match_prefix(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index,
                  TextDictionary& dictionary, PrefixMatch& match) {
  match.tokens.fill(0);
  match.holders.reset();
  match.longest = 0;
  match.probes = 0;
  const size_t pieces = chain.hashes.size();
  if (pieces == 0) return;
  Prober prober(chain, tokens_per_byte, index, dictionary, match);

  // Gallop to where nobody follows. What is held deeper is held here too: a set forgets nobody that a later
  // one has (the index may not have recorded all holders of a hot block).
  struct Stop {
    size_t pieces;
    HolderSet holders;
  };
  std::array<Stop, 34> stops;
  size_t count = 0;
  for (size_t at = 1; count + 1 < stops.size(); at = std::min(at * 2, pieces)) {
    stops[count++] = {at, prober.holders(at)};
    if (stops[count - 1].holders.none() || at == pieces) break;
  }
  for (size_t i = count - 1; i > 0; --i) stops[i - 1].holders |= stops[i].holders;
  prober.assign(stops[count - 1].holders, stops[count - 1].pieces);
  for (size_t i = 0; i + 1 < count; ++i) {
    bisect(prober, stops[i].pieces, stops[i].holders, stops[i + 1].pieces, stops[i + 1].holders);
  }
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
