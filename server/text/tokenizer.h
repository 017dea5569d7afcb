// Text to token ids and back, over the Rust crate's C ABI (text_ffi.h). Built from a tokenizer.json or a
// GGUF's embedded vocabulary. Immutable after loading: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/model_config.h"

struct SluiceTextTokenizer;

namespace sluice {

// What decoding does beyond joining the tokens' bytes.
struct Decoding {
  int strip_leading_spaces = 0;  // so many spaces at most are dropped from the beginning of a text
  bool drop_spaces_of_first_token = false;
};

class Tokenizer {
 public:
  // kCorrupt or kUnsupported with the library's own sentence when the source cannot be a tokenizer.
  static Result<std::shared_ptr<const Tokenizer>> load(const TokenizerSource& source);
  virtual ~Tokenizer() = default;

  // `add_special`: as the model's post-processor says (BOS for Llama). `parse_special`: text that spells a
  // special token becomes that token: true for a rendered chat template, false for a client's own text.
  // Invalid UTF-8 is replaced by U+FFFD first.
  virtual Result<std::vector<int32_t>> encode(std::string_view text, bool add_special,
                                              bool parse_special) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  // A token's own bytes, not always valid UTF-8 alone; for logprobs.
  virtual std::string token_bytes(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual int32_t id_of(std::string_view token) const = 0;  // -1: no such token
  virtual int32_t vocabulary() const = 0;

  virtual Decoding decoding() const { return {}; }
  // A SentencePiece byte token: of a malformed sequence of these each becomes its own U+FFFD.
  virtual bool is_fallback_byte(int32_t) const { return false; }
  // For the files of this folder; null: not made by `load`.
  virtual const SluiceTextTokenizer* native() const { return nullptr; }
};

// The text of one answer as its tokens come: holds back incomplete UTF-8 and whatever may be the beginning of
// a stop string. One per answer; one thread.
class Detokenizer {
 public:
  struct Options {
    std::vector<std::string> stop;  // stop strings, not empty ones
    bool include_stop = false;      // include_stop_str_in_output
    bool skip_special = true;       // skip_special_tokens
    std::vector<int32_t> shown;     // special tokens that come through all the same, for a parser behind
    bool continues_text =
        false;  // the answer goes on in the prompt's own text (completions): its leading space stays
  };
  virtual ~Detokenizer() = default;
  // New text that is safe to send, maybe empty.
  virtual std::string push(int32_t token) = 0;
  // After the last token: what was held back (incomplete UTF-8 becomes U+FFFD).
  virtual std::string finish() = 0;
  // Set once a stop string was met: tokens pushed later add nothing.
  virtual bool stopped() const = 0;
  virtual const std::string& stop_string() const = 0;  // the one that was met

  static std::unique_ptr<Detokenizer> make(std::shared_ptr<const Tokenizer> tokenizer, Options options);
};

}  // namespace sluice
