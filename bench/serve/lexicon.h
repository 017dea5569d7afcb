// Words that are one token each to the server's own tokenizer, wherever they stand, so that a prompt of so
// many words has exactly so many tokens. Pure: who asks the server is fit_lexicon's caller. Immutable once
// made; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bench/serve/workload.h"

namespace sluice::bench {

class Lexicon {
 public:
  // Common English words, taken for a token each; nobody asked.
  Lexicon();
  // Of tokenized words: those that are one token, with their ids. `ids` is the whole of
  // doubled_words(candidates()), without special tokens; none when the two do not fit together.
  static std::optional<Lexicon> from_doubled(std::span<const int32_t> ids);
  static std::vector<std::string_view> candidates();
  // Each word twice in a row: in the ids of " the the of of" what is not repeated at once is no single token.
  static std::string doubled_words(std::span<const std::string_view> words);

  // Appends `tokens` words, each with a space before it; letters and spaces alone, so JSON needs no escapes.
  void append_words(const Piece& piece, std::string& out) const;
  // The same as ids with commas between.
  void append_ids(const Piece& piece, std::string& out) const;

  bool is_exact() const { return !ids_.empty(); }
  size_t size() const { return words_.size(); }
  // What the server adds to a prompt: the tokens of a chat template around one message, or of a beginning.
  uint32_t chat_overhead = 0, plain_overhead = 0;

 private:
  std::vector<std::string_view> words_;
  std::vector<int32_t> ids_;  // of words_; empty: not known
};

// Where the prompt is a chat or a plain one.
struct TokenQuestion {
  bool is_chat = false;
  bool adds_special = false;
  std::string text;
};
// Token ids of a question, as the server answers /tokenize.
using AskTokens = std::function<Result<std::vector<int32_t>>(const TokenQuestion& question)>;

// A lexicon that fits the server, tried out on a long text; the error says why there is none.
Result<Lexicon> fit_lexicon(const AskTokens& ask);

}  // namespace sluice::bench
