// What text becomes in tokens, learned from replicas that tell: chunk of text (router/core/prompt_chain.h) ->
// the KV block in which it ends, and the number of tokens up to there. A router that does not tokenise knows
// so which block to ask the index for. Fixed bytes; the least used goes first. One thread.
//
// How it learns: a replica admitted a prompt of N tokens whose L bytes we hashed, and names its last full
// block; the index knows the parents. The chunk that ends at byte b ends near token N*b/L, more precisely
// between the chunks whose place is confirmed already; rounded down to whole blocks. Where another prompt
// goes through the same chunk but another block, the guess went beyond what the two share: the entry moves
// one block down, until all agree.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "router/core/associative_table.h"

namespace sluice::router {

class TextDictionary {
 public:
  TextDictionary(uint64_t budget_bytes, uint64_t secret);

  struct Meaning {
    uint64_t block = 0;   // hash of the last whole block within the text up to here
    uint32_t tokens = 0;  // up to the end of that block
  };
  std::optional<Meaning> find(uint64_t chunk);
  // Of many at once, at most PrefixIndex::kMaxAsked; meanings[i].tokens is 0 where chunks[i] is not known.
  void find_all(std::span<const uint64_t> chunks, std::span<Meaning> meanings);
  void touch(uint64_t chunk);

  struct Lesson {
    std::span<const uint64_t> chunks;  // the prompt's text chain
    uint64_t bytes = 0;                // of the whole prompt, > 0
    uint32_t prompt_tokens = 0;        // that the replica counted
    uint32_t block_tokens = 0;         // > 0
    std::span<const uint64_t> blocks;  // the prompt's block chain from its first block on
  };
  void learn(const Lesson& lesson);

  uint64_t size() const { return table_.size(); }
  uint64_t bytes() const { return table_.bytes(); }

 private:
  struct Entry {
    uint64_t hash;
    uint64_t block;
    uint32_t tokens;
    uint32_t spare;
  };
  AssociativeTable<Entry> table_;
};

}  // namespace sluice::router
