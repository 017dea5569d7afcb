// The small change of HTTP's grammar (RFC 9110, 5): what requests and answers have in common. Pure; any
// thread. Internal to server/net.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::http_syntax {

inline char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

inline std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
  return out;
}

inline bool is_field_character(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

inline std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Whether a comma-separated header names `token` (in lower case).
inline bool lists(std::string_view value, std::string_view token) {
  while (!value.empty()) {
    const size_t comma = value.find(',');
    if (lower(trim(value.substr(0, comma))) == token) return true;
    if (comma == std::string_view::npos) return false;
    value.remove_prefix(comma + 1);
  }
  return false;
}

// The size at the front of a chunk's line, and how many digits it took; 0 digits: there is none.
struct ChunkSize {
  uint64_t bytes = 0;
  size_t digits = 0;
  bool too_large = false;
};
inline ChunkSize read_chunk_size(std::string_view line) {
  ChunkSize size;
  for (; size.digits < line.size(); ++size.digits) {
    const char c = lower(line[size.digits]);
    int digit = -1;
    if (c >= '0' && c <= '9')
      digit = c - '0';
    else if (c >= 'a' && c <= 'f')
      digit = c - 'a' + 10;
    if (digit < 0) break;
    if (size.digits >= 15) {
      size.too_large = true;
      break;
    }
    size.bytes = size.bytes * 16 + static_cast<uint64_t>(digit);
  }
  return size;
}

}  // namespace sluice::http_syntax
