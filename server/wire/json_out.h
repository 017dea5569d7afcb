// Writing JSON by hand, fast: appends to a string, escapes what must be, makes no tree. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

// `text` in quotes; invalid UTF-8 becomes U+FFFD, so that the output is always valid JSON.
void append_json_string(std::string& out, std::string_view text);
void append_json(std::string& out, int64_t value);
// Six significant digits; what JSON cannot say (NaN, infinities) becomes `fallback`.
void append_json(std::string& out, double value, std::string_view fallback = "null");

}  // namespace sluice
