#include "server/api/text_shield.h"

#include <algorithm>
#include <charconv>

namespace sluice {
namespace {

// Noncharacters (Unicode 15, 23.7): they mean nothing in any text, and if a client sends one it is covered
// itself.
constexpr std::string_view kMarkBegin = "\xef\xb7\x90";  // U+FDD0
constexpr std::string_view kMarkEnd = "\xef\xb7\x91";    // U+FDD1

}  // namespace

TextShield::TextShield(std::vector<std::string> special_tokens) {
  special_tokens.emplace_back(kMarkBegin);
  special_tokens.emplace_back(kMarkEnd);
  for (std::string& token : special_tokens) {
    if (token.empty()) continue;
    auto& place = by_first_byte_[static_cast<unsigned char>(token.front())];
    if (place.empty()) first_bytes_.push_back(token.front());
    place.push_back(std::move(token));
  }
  for (auto& tokens : by_first_byte_) {
    std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  }
}

size_t TextShield::match_at(std::string_view text) const {
  for (const std::string& token : by_first_byte_[static_cast<unsigned char>(text.front())]) {
    if (text.starts_with(token)) return token.size();
  }
  return 0;
}

std::string TextShield::cover(std::string_view text, std::vector<std::string>& covered) const {
  std::string out;
  size_t plain = 0;  // [plain, at) has no special token
  for (size_t at = text.find_first_of(first_bytes_); at != std::string_view::npos;) {
    const size_t length = match_at(text.substr(at));
    if (length > 0) {
      out.append(text.substr(plain, at - plain))
          .append(kMarkBegin)
          .append(std::to_string(covered.size()))
          .append(kMarkEnd);
      covered.emplace_back(text.substr(at, length));
      plain = at + length;
    }
    at = text.find_first_of(first_bytes_, at + std::max<size_t>(1, length));
  }
  out.append(text.substr(plain));
  return out;
}

std::vector<TextShield::Piece> TextShield::uncover(std::string_view rendered,
                                                   const std::vector<std::string>& covered) {
  std::vector<Piece> pieces;
  size_t from = 0;
  for (size_t begin = rendered.find(kMarkBegin); begin != std::string_view::npos;
       begin = rendered.find(kMarkBegin, from)) {
    const size_t number = begin + kMarkBegin.size();
    const size_t end = rendered.find(kMarkEnd, number);
    if (begin > from) pieces.push_back({rendered.substr(from, begin - from), false});
    size_t index = covered.size();
    const size_t stop = std::min(end, rendered.size());
    const auto parsed = std::from_chars(rendered.data() + number, rendered.data() + stop, index);
    const bool whole = end != std::string_view::npos && parsed.ec == std::errc() &&
                       parsed.ptr == rendered.data() + end && index < covered.size();
    from = whole ? end + kMarkEnd.size() : number;  // a template that cut a mark apart loses it
    if (whole) pieces.push_back({covered[index], true});
  }
  if (from < rendered.size()) pieces.push_back({rendered.substr(from), false});
  return pieces;
}

}  // namespace sluice
