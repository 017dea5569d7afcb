// Token bytes to valid UTF-8 as they come: joins, holds back a character that is not whole yet, replaces what
// can never become one by U+FFFD, and drops the leading spaces the decoder drops. One text, one thread.
#pragma once

#include <string>
#include <string_view>

#include "server/text/tokenizer.h"

namespace sluice {

// A malformed sequence becomes one U+FFFD per maximal subpart (Unicode 15, 3.9, "U+FFFD Substitution of
// Maximal Subparts").
class Utf8Assembler {
 public:
  // Appends to `out` what is whole; at most three bytes stay pending.
  void push(std::string_view bytes, std::string& out);
  // A byte whose malformed neighbours are replaced one by one.
  void push_fallback_byte(char byte, std::string& out);
  // What is pending can no longer become a character.
  void flush(std::string& out);

 private:
  void push_byte(unsigned char byte, std::string& out);
  void begin(unsigned char byte, std::string& out);

  unsigned char pending_[4] = {};
  int pending_size_ = 0;
  int wanted_size_ = 0;
  bool each_alone_ = false;  // pending bytes are fallback bytes
};

class TokenText {
 public:
  // `shown`: special tokens that are not skipped.
  TokenText(const Tokenizer& tokenizer, bool skip_special, bool keep_leading_space,
            std::vector<int32_t> shown = {});
  void push(int32_t token, std::string& out);
  void finish(std::string& out) {
    append_stripped(out, [&](std::string& text) { utf8_.flush(text); });
  }

 private:
  template <class Append>
  void append_stripped(std::string& out, Append&& append);

  const Tokenizer& tokenizer_;
  const bool skip_special_;
  const std::vector<int32_t> shown_;
  int strip_spaces_;
  bool drop_spaces_of_next_;
  Utf8Assembler utf8_;
};

template <class Append>
void TokenText::append_stripped(std::string& out, Append&& append) {
  const size_t start = out.size();
  append(out);
  if (strip_spaces_ == 0 || out.size() == start) return;
  size_t spaces = 0;
  while (strip_spaces_ > 0 && start + spaces < out.size() && out[start + spaces] == ' ') {
    ++spaces;
    --strip_spaces_;
  }
  out.erase(start, spaces);
  if (out.size() > start) strip_spaces_ = 0;
}

}  // namespace sluice
