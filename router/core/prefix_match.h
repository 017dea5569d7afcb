// How much of a prompt each holder has: walks a chain over index and dictionary. One thread.
//
// What is held is held from the front: an engine evicts a chain's end first. So the holders of position i are
// a superset of those of position i+1, and the places where the set shrinks are found in a few rounds:
// sixteen places over the whole chain, then five within each gap in which the holders become fewer, until
// none is left. The questions of a round are asked together, because each waits for memory three times
// (where, what, who else) and these waits overlap: some 2 + log6(positions/16) rounds. Where an entry is
// missing in the middle (the budget took it) its neighbour is asked.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "router/core/prefix_index.h"
#include "router/core/prompt_chain.h"
#include "router/core/text_dictionary.h"

namespace sluice::router {

struct PrefixMatch {
  std::array<uint32_t, kMaxHolders> tokens;  // held from the front, by holder id; zero for who holds nothing
  HolderSet holders;                         // who holds something
  uint32_t longest = 0;                      // tokens, over all holders
  size_t longest_pieces = 0;                 // the same in pieces of the chain
  int probes = 0;                            // questions asked of the index
  int rounds = 0;                            // in so many rounds
};

// `tokens_per_byte`: of text that the dictionary does not know.
void match_prefix(const PromptChain& chain, double tokens_per_byte, PrefixIndex& index,
                  TextDictionary& dictionary, PrefixMatch& match);

// Records that `holder` is about to hold all of the chain, and marks what is known of it as used.
void place_prompt(const PromptChain& chain, HolderId holder, Tick when, PrefixIndex& index,
                  TextDictionary& dictionary);

}  // namespace sluice::router
