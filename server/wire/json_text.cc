#include "server/wire/json_text.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using nlohmann::json;

// Builds nothing: counts the depth and remembers the first fault.
struct SyntaxCheck {
  int max_depth;
  int depth = 0;
  bool too_deep = false;
  size_t fault_position = 0;
  std::string fault;

  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(json::number_integer_t) { return true; }
  bool number_unsigned(json::number_unsigned_t) { return true; }
  bool number_float(json::number_float_t, const std::string&) { return true; }
  bool string(std::string&) { return true; }
  bool binary(json::binary_t&) { return true; }
  bool key(std::string&) { return true; }
  bool start_object(size_t) { return deeper(); }
  bool start_array(size_t) { return deeper(); }
  bool end_object() {
    --depth;
    return true;
  }
  bool end_array() {
    --depth;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    fault_position = position;
    // "[json.exception.parse_error.101] parse error at line 1, column 5: what": the part behind the place is
    // for people.
    fault = error.what();
    if (const size_t what = fault.find(": "); what != std::string::npos) fault.erase(0, what + 2);
    return false;
  }
  bool deeper() {
    too_deep = too_deep || ++depth > max_depth;
    return !too_deep;
  }
};

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// The places below are within checked text: every value is whole.
size_t skip_space(std::string_view text, size_t at) {
  while (is_space(text[at])) ++at;
  return at;
}

size_t skip_string(std::string_view text, size_t at) {
  for (++at; text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

size_t skip_value(std::string_view text, size_t at) {
  if (text[at] == '"') return skip_string(text, at);
  if (text[at] == '{' || text[at] == '[') {
    int depth = 0;
    do {
      if (text[at] == '"') {
        at = skip_string(text, at);
        continue;
      }
      if (text[at] == '{' || text[at] == '[') ++depth;
      if (text[at] == '}' || text[at] == ']') --depth;
      ++at;
    } while (depth > 0);
    return at;
  }
  while (at < text.size() && !is_space(text[at]) && text[at] != ',' && text[at] != '}' && text[at] != ']')
    ++at;
  return at;
}

}  // namespace

Result<JsonText> JsonText::check(std::string_view text, int max_depth) {
  SyntaxCheck check{max_depth};
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark says nothing here
  if (trim(text).empty()) return invalid_argument("", "The body is empty; send a JSON object.");
  const bool ok = json::sax_parse(text.begin(), text.end(), &check);
  if (check.too_deep) {
    return invalid_argument(
        "", "The JSON nests deeper than " + std::to_string(max_depth) + " levels (--max-json-depth).");
  }
  if (!ok) {
    return invalid_argument("", "The body is not valid JSON (at byte " +
                                    std::to_string(check.fault_position) + "): " + check.fault);
  }
  return JsonText(trim(text));
}

JsonText::Kind JsonText::kind() const {
  switch (text_.front()) {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case '"':
      return Kind::kString;
    case 't':
    case 'f':
      return Kind::kBoolean;
    case 'n':
      return Kind::kNull;
    default:
      return Kind::kNumber;
  }
}

double JsonText::number() const {
  double value = 0;
  std::from_chars(text_.data(), text_.data() + text_.size(), value);
  return value;
}

std::optional<int64_t> JsonText::integer() const {
  int64_t whole = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), whole);
  if (error == std::errc() && end == text_.data() + text_.size()) return whole;
  if (error == std::errc::result_out_of_range) return std::nullopt;
  const double value = number();
  if (value != std::floor(value) || std::abs(value) > 9.0e15) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::string JsonText::string() const {
  const std::string_view inner = text_.substr(1, text_.size() - 2);
  if (inner.find('\\') == std::string_view::npos) return std::string(inner);
  return json::parse(text_.begin(), text_.end(), nullptr, false).get<std::string>();
}

Result<std::vector<JsonText::Member>> JsonText::members(size_t limit) const {
  std::vector<Member> members;
  size_t at = skip_space(text_, 1);
  while (text_[at] != '}') {
    if (members.size() == limit) {
      return invalid_argument("", "An object has more than " + std::to_string(limit) + " members.");
    }
    const size_t name_end = skip_string(text_, at);
    std::string name = JsonText(text_.substr(at, name_end - at)).string();
    at = skip_space(text_, skip_space(text_, name_end) + 1);  // over the colon
    const size_t value_end = skip_value(text_, at);
    members.push_back({std::move(name), JsonText(text_.substr(at, value_end - at))});
    at = skip_space(text_, value_end);
    if (text_[at] == ',') at = skip_space(text_, at + 1);
  }
  return members;
}

void JsonText::for_each(const std::function<bool(JsonText element)>& visit) const {
  size_t at = skip_space(text_, 1);
  while (text_[at] != ']') {
    const size_t end = skip_value(text_, at);
    if (!visit(JsonText(text_.substr(at, end - at)))) return;
    at = skip_space(text_, end);
    if (text_[at] == ',') at = skip_space(text_, at + 1);
  }
}

size_t JsonText::element_count(size_t stop_at) const {
  size_t count = 0;
  for_each([&](JsonText) { return ++count < stop_at; });
  return count;
}

std::string_view describe(JsonText::Kind kind) {
  switch (kind) {
    case JsonText::Kind::kNull:
      return "null";
    case JsonText::Kind::kBoolean:
      return "a boolean";
    case JsonText::Kind::kNumber:
      return "a number";
    case JsonText::Kind::kString:
      return "a string";
    case JsonText::Kind::kArray:
      return "an array";
    case JsonText::Kind::kObject:
      return "an object";
  }
  return "?";
}

}  // namespace sluice
