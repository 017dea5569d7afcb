// Keeps a client's text text: where a message spells one of the model's special tokens ("<|im_end|>"), the
// spelling is replaced by a mark before the template renders it and put back afterwards, so that it can be
// encoded as plain text while the template's own special tokens keep their meaning. Immutable: any thread.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class TextShield {
 public:
  explicit TextShield(std::vector<std::string> special_tokens);

  struct Piece {
    std::string_view text;
    bool covered;  // spelled by the client: encode without special tokens
  };

  // `text` with its special tokens replaced by marks; what they stood for is appended to `covered`.
  std::string cover(std::string_view text, std::vector<std::string>& covered) const;
  // The rendered text cut at the marks. Views into both arguments.
  static std::vector<Piece> uncover(std::string_view rendered, const std::vector<std::string>& covered);

 private:
  size_t match_at(std::string_view text) const;  // length of the longest token at the front, 0: none

  std::array<std::vector<std::string>, 256> by_first_byte_;  // longest first
  std::string first_bytes_;
};

}  // namespace sluice
