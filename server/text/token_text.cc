#include "server/text/token_text.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// How long the character is that begins with `byte`; 0: none does. RFC 3629.
int length_of(unsigned char byte) {
  if (byte < 0x80) return 1;
  if (byte >= 0xC2 && byte <= 0xDF) return 2;
  if (byte >= 0xE0 && byte <= 0xEF) return 3;
  if (byte >= 0xF0 && byte <= 0xF4) return 4;
  return 0;
}

// Neither overlong, nor a surrogate, nor beyond U+10FFFF: all decided by the second byte.
bool second_byte_fits(unsigned char first, unsigned char second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return (second & 0xC0) == 0x80;
  }
}

}  // namespace

void Utf8Assembler::push(std::string_view bytes, std::string& out) {
  if (bytes.empty()) return;
  if (each_alone_) flush(out);
  for (const char byte : bytes) push_byte(static_cast<unsigned char>(byte), out);
}

void Utf8Assembler::push_fallback_byte(char byte, std::string& out) {
  each_alone_ = true;
  push_byte(static_cast<unsigned char>(byte), out);
}

void Utf8Assembler::flush(std::string& out) {
  const int marks = each_alone_ ? pending_size_ : std::min(pending_size_, 1);
  for (int i = 0; i < marks; ++i) out += kReplacement;
  pending_size_ = 0;
  each_alone_ = false;
}

void Utf8Assembler::push_byte(unsigned char byte, std::string& out) {
  if (pending_size_ == 0) return begin(byte, out);
  const bool fits = pending_size_ == 1 ? second_byte_fits(pending_[0], byte) : (byte & 0xC0) == 0x80;
  if (!fits) {
    const bool each_alone = each_alone_;
    flush(out);
    each_alone_ = each_alone;
    return begin(byte, out);
  }
  pending_[pending_size_++] = byte;
  if (pending_size_ < wanted_size_) return;
  out.append(reinterpret_cast<const char*>(pending_), pending_size_);
  pending_size_ = 0;
}

void Utf8Assembler::begin(unsigned char byte, std::string& out) {
  wanted_size_ = length_of(byte);
  if (wanted_size_ == 1) {
    out.push_back(static_cast<char>(byte));
  } else if (wanted_size_ == 0) {
    out += kReplacement;
  } else {
    pending_[0] = byte;
    pending_size_ = 1;
  }
}

TokenText::TokenText(const Tokenizer& tokenizer, bool skip_special, bool keep_leading_space,
                     std::vector<int32_t> shown)
    : tokenizer_(tokenizer),
      skip_special_(skip_special),
      shown_(std::move(shown)),
      strip_spaces_(keep_leading_space ? 0 : tokenizer.decoding().strip_leading_spaces),
      drop_spaces_of_next_(!keep_leading_space && tokenizer.decoding().drop_spaces_of_first_token) {}

void TokenText::push(int32_t token, std::string& out) {
  if (token < 0 || token >= tokenizer_.vocabulary()) return;
  if (skip_special_ && tokenizer_.is_special(token) &&
      std::find(shown_.begin(), shown_.end(), token) == shown_.end())
    return;
  std::string bytes = tokenizer_.token_bytes(token);
  if (drop_spaces_of_next_) {
    std::erase(bytes, ' ');
    drop_spaces_of_next_ = false;
  }
  append_stripped(out, [&](std::string& text) {
    if (bytes.size() == 1 && tokenizer_.is_fallback_byte(token)) {
      utf8_.push_fallback_byte(bytes[0], text);
    } else {
      utf8_.push(bytes, text);
    }
  });
}

}  // namespace sluice
