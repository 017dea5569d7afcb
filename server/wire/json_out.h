// Writing JSON by hand, fast: appends to a string, escapes what must be, makes no tree. Any thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

// `text` in quotes; invalid UTF-8 becomes U+FFFD, so that the output is always valid JSON.
void append_json_string(std::string& out, std::string_view text);
void append_json(std::string& out, int64_t value);
// Six significant digits; what JSON cannot say (NaN, infinities) becomes `fallback`.
void append_json(std::string& out, double value, std::string_view fallback = "null");

// A further member of an object: a comma, its name (which needs no escapes) and its value: a text, a
// number, true or false.
template <class Value>
void append_json_member(std::string& out, std::string_view name, const Value& value) {
  out.append(",\"").append(name).append("\":");
  if constexpr (std::same_as<Value, bool>)
    out += value ? "true" : "false";
  else if constexpr (std::integral<Value>)
    append_json(out, static_cast<int64_t>(value));
  else if constexpr (std::floating_point<Value>)
    append_json(out, static_cast<double>(value));
  else
    append_json_string(out, value);
}

}  // namespace sluice
