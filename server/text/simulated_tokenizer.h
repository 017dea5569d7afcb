// A tokenizer that needs no file, for servers whose model is simulated. Its vocabulary is arithmetic, not a
// table:
//
//   [0, 256)          bytes
//   256 …             the special tokens of ChatML
//   kWordFirst …      words: a space and two syllables (" kobe")
//   kPieceFirst …     an optional space and up to three small letters (" the", "ing")
//
// English prose takes about three bytes a token. Text comes back byte for byte; a token depends on at most
// five bytes from its own begin on, so two texts that begin alike have tokens that begin alike; and text made
// of words, as simulated answers are, is encoded as the same words again. So prefixes are found in the cache
// as with a real model. Immutable: any thread.
#pragma once

#include <memory>

#include "server/text/tokenizer.h"

namespace sluice {

inline constexpr int32_t kSimulatedEnd = 257;  // <|im_end|>

std::shared_ptr<const Tokenizer> make_simulated_tokenizer();

// Tokens that a simulated answer is made of, so that it reads as words: those that write a space and at least
// three small letters, the first 4096 of them; all tokens when there are none.
std::vector<int32_t> readable_tokens(const Tokenizer& tokenizer);

}  // namespace sluice
