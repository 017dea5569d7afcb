#include "server/parsers/json_scanner.h"

#include "server/parsers/parsed_text.h"

namespace sluice {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

}  // namespace

JsonScanner::Step JsonScanner::push(char c) {
  const auto expect = [&](bool good, State next) {
    if (good) state_ = next;
    return good ? Step::kMore : Step::kBad;
  };
  switch (state_) {
    case State::kString:
      if (c == '\\') state_ = State::kEscape;
      if (c == '"') state_ = key_ ? State::kColon : State::kAfterValue;
      return static_cast<unsigned char>(c) >= 0x20 || is_white(c) ? Step::kMore : Step::kBad;
    case State::kEscape:
      hex_ = 0;
      if (c == 'u') return expect(true, State::kHex);
      return expect(std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos, State::kString);
    case State::kHex:
      if (!is_hex(c)) return Step::kBad;
      if (++hex_ == 4) state_ = State::kString;
      return Step::kMore;
    case State::kWord:
      if (c != word_.front()) return Step::kBad;
      word_.remove_prefix(1);
      if (word_.empty()) state_ = State::kAfterValue;
      return Step::kMore;
    case State::kNumber:
      return number(c);
    default:
      break;
  }
  if (is_white(c)) return state_ == State::kStart ? Step::kBad : Step::kMore;
  switch (state_) {
    case State::kStart:
      return c == '{' ? open(true) : Step::kBad;
    case State::kFirstKey:
      if (c == '}') return close(true);
      [[fallthrough]];
    case State::kKey:
      key_ = true;
      return expect(c == '"', State::kString);
    case State::kColon:
      return expect(c == ':', State::kValue);
    case State::kFirstElement:
      if (c == ']') return close(false);
      [[fallthrough]];
    case State::kValue:
      return value(c);
    default:
      return after_value(c);
  }
}

JsonScanner::Step JsonScanner::value(char c) {
  switch (c) {
    case '{':
      return open(true);
    case '[':
      return open(false);
    case '"':
      key_ = false;
      state_ = State::kString;
      return Step::kMore;
    case 't':
      word_ = "rue";
      break;
    case 'f':
      word_ = "alse";
      break;
    case 'n':
      word_ = "ull";
      break;
    default:
      if (c != '-' && !is_digit(c)) return Step::kBad;
      state_ = State::kNumber;
      number_ = c == '-' ? Number::kSign : c == '0' ? Number::kZero : Number::kWhole;
      return Step::kMore;
  }
  state_ = State::kWord;
  return Step::kMore;
}

JsonScanner::Step JsonScanner::after_value(char c) {
  state_ = State::kAfterValue;
  if (c == '}' || c == ']') return close(c == '}');
  if (c != ',') return Step::kBad;
  state_ = inside_object() ? State::kKey : State::kValue;
  return Step::kMore;
}

JsonScanner::Step JsonScanner::open(bool object) {
  if (depth_ == kMaxDepth) return Step::kBad;
  const uint64_t bit = uint64_t{1} << depth_;
  objects_ = object ? objects_ | bit : objects_ & ~bit;
  ++depth_;
  state_ = object ? State::kFirstKey : State::kFirstElement;
  return Step::kMore;
}

JsonScanner::Step JsonScanner::close(bool object) {
  if (inside_object() != object) return Step::kBad;
  --depth_;
  state_ = State::kAfterValue;
  return depth_ == 0 ? Step::kDone : Step::kMore;
}

JsonScanner::Step JsonScanner::number(char c) {
  const bool digit = is_digit(c);
  const bool e = c == 'e' || c == 'E';
  switch (number_) {
    case Number::kSign:
      number_ = c == '0' ? Number::kZero : Number::kWhole;
      return digit ? Step::kMore : Step::kBad;
    case Number::kZero:
    case Number::kWhole:
      if (digit) return number_ == Number::kWhole ? Step::kMore : Step::kBad;
      if (c != '.' && !e) break;
      number_ = e ? Number::kE : Number::kPoint;
      return Step::kMore;
    case Number::kPoint:
      number_ = Number::kFraction;
      return digit ? Step::kMore : Step::kBad;
    case Number::kFraction:
      if (digit) return Step::kMore;
      if (!e) break;
      number_ = Number::kE;
      return Step::kMore;
    case Number::kE:
      if (c == '+' || c == '-') {
        number_ = Number::kESign;
        return Step::kMore;
      }
      [[fallthrough]];
    case Number::kESign:
      number_ = Number::kExponent;
      return digit ? Step::kMore : Step::kBad;
    case Number::kExponent:
      if (digit) return Step::kMore;
      break;
  }
  if (is_white(c)) {
    state_ = State::kAfterValue;
    return Step::kMore;
  }
  return after_value(c);
}

void append_json_escaped(std::string& out, char c) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
    case '\\':
      out.push_back('\\');
      out.push_back(c);
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 0x20 && byte != 0x7f) {
    out.push_back(c);
    return;
  }
  out += "\\u00";
  out.push_back(kHex[byte >> 4]);
  out.push_back(kHex[byte & 15]);
}

}  // namespace sluice
