#include "server/wire/json_walk.h"

#include <array>
#include <bitset>
#include <cstring>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "server/wire/json_text.h"

namespace sluice {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

// Where the first quote or backslash is; its size when there is none. Prompts are long strings, so sixteen
// bytes at a time.
size_t find_quote(std::string_view text, size_t at) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
  for (; at + 16 <= text.size(); at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
    const int found =
        _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
    if (found != 0) return at + static_cast<size_t>(__builtin_ctz(static_cast<unsigned>(found)));
  }
#endif
  while (at < text.size() && text[at] != '"' && text[at] != '\\') ++at;
  return at;
}

// Bytes that a value's inside cannot pass over.
const std::array<bool, 256>& structural() {
  static const auto kTable = [] {
    std::array<bool, 256> table{};
    for (const char c : std::string_view("\"[]{}")) table[static_cast<unsigned char>(c)] = true;
    return table;
  }();
  return kTable;
}

}  // namespace

void JsonWalk::skip_space() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
}

bool JsonWalk::enter(char open) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != open) return false;
  ++at_;
  first_ = true;
  return true;
}

// Stands before the next member or element; false behind the closing bracket.
bool JsonWalk::next(char close) {
  if (failed_) return false;
  skip_space();
  if (at_ >= text_.size()) return fail();
  if (text_[at_] == close) {
    ++at_;
    first_ = false;
    return false;
  }
  if (!first_) {
    if (text_[at_] != ',') return fail();
    ++at_;
    skip_space();
  }
  first_ = false;
  return true;
}

bool JsonWalk::member(std::string_view& name, std::string_view& value) {
  if (!next('}')) return false;
  const size_t begin = at_;
  if (at_ >= text_.size() || text_[at_] != '"' || !skip_string()) return fail();
  name = text_.substr(begin + 1, at_ - begin - 2);
  skip_space();
  if (at_ >= text_.size() || text_[at_] != ':') return fail();
  ++at_;
  return take_value(value);
}

bool JsonWalk::element(std::string_view& value) {
  return next(']') && take_value(value);
}

bool JsonWalk::at_end() {
  skip_space();
  return !failed_ && at_ == text_.size();
}

bool JsonWalk::take_value(std::string_view& value) {
  skip_space();
  if (at_ >= text_.size()) return fail();
  const size_t begin = at_;
  const char c = text_[at_];
  if (c == '"') {
    if (!skip_string()) return fail();
  } else if (c == '{' || c == '[') {
    if (!skip_nested()) return fail();
  } else {
    while (at_ < text_.size()) {
      const char d = text_[at_];
      const bool plain = (d >= '0' && d <= '9') || (d >= 'a' && d <= 'z') || d == '-' || d == '+' ||
                         d == '.' || d == 'E' || d == 'I' || d == 'N';
      if (!plain) break;
      ++at_;
    }
    if (at_ == begin) return fail();
  }
  value = text_.substr(begin, at_ - begin);
  return true;
}

bool JsonWalk::skip_string() {
  ++at_;
  for (;;) {
    at_ = find_quote(text_, at_);
    if (at_ >= text_.size()) return false;
    if (text_[at_] == '"') {
      ++at_;
      return true;
    }
    at_ += 2;  // the backslash and what it escapes
    if (at_ > text_.size()) return false;
  }
}

bool JsonWalk::skip_nested() {
  const auto& stops = structural();
  std::bitset<kMaxJsonDepth> objects;  // of the open brackets: is it an object's?
  size_t depth = 0;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (!stops[static_cast<unsigned char>(c)]) {
      ++at_;
      continue;
    }
    if (c == '"') {
      if (!skip_string()) return false;
      continue;
    }
    ++at_;
    if (c == '{' || c == '[') {
      if (depth == kMaxJsonDepth) return false;
      objects[depth++] = c == '{';
      continue;
    }
    if (objects[--depth] != (c == '}')) return false;
    if (depth == 0) return true;
  }
  return false;
}

std::string decode_json_string(std::string_view value, size_t limit) {
  if (!is_json_string(value)) return {};
  const std::string_view inside = value.substr(1, value.size() - 2);
  if (inside.size() > 6 * limit) return {};
  if (inside.find('\\') == std::string_view::npos) return std::string(inside.substr(0, limit));
  const auto checked = JsonText::check(value, 2);
  if (!checked.ok()) return {};
  std::string text = checked->string();
  if (text.size() > limit) text.resize(limit);
  return text;
}

}  // namespace sluice
