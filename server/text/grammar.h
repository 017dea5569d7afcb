// A compiled grammar over a tokenizer's tokens, and where one answer stands in it. llguidance does the work,
// behind text_ffi.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "server/text/tokenizer.h"

namespace sluice {

// Of one answer; one thread at a time.
class GrammarMatcher {
 public:
  virtual ~GrammarMatcher() = default;
  // Bit t of words: token t may come next. True when the answer may end here; the end's own token is among
  // the bits then.
  virtual Result<bool> fill_mask(std::span<uint32_t> words) = 0;
  // kInvalidArgument when `token` may not come here.
  virtual Status accept(int32_t token) = 0;
};

// Never changes: any thread.
class Grammar {
 public:
  // `kind`: "json_schema", "regex" or "lark" (llguidance's dialect). `end`: the token that ends an answer,
  // the same for all grammars of a tokenizer. Takes milliseconds as a rule, seconds at most: the library
  // bounds the size, the items and the lexer's states it will spend. kInvalidArgument with its sentence when
  // the grammar is wrong or too large.
  static Result<std::shared_ptr<const Grammar>> compile(std::shared_ptr<const Tokenizer> tokenizer,
                                                        int32_t end, std::string_view kind,
                                                        std::string_view source);
  virtual ~Grammar() = default;
  virtual Result<std::unique_ptr<GrammarMatcher>> matcher() const = 0;
};

}  // namespace sluice
