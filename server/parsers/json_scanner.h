// Follows the syntax of one JSON object byte by byte (RFC 8259) without building anything. Line breaks and
// tabs within strings are let pass: models write them; whoever copies the text escapes them. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

class JsonScanner {
 public:
  static constexpr int kMaxDepth = 64;  // deeper is kBad

  enum class Step : uint8_t { kMore, kDone, kBad };  // kDone: `c` closed the object

  Step push(char c);
  int depth() const { return depth_; }  // open objects and arrays
  bool in_key() const { return in_string() && key_; }
  bool in_string() const {
    return state_ == State::kString || state_ == State::kEscape || state_ == State::kHex;
  }
  bool after_value() const { return state_ == State::kAfterValue; }

 private:
  enum class State : uint8_t {
    kStart,
    kValue,
    kFirstElement,
    kFirstKey,
    kKey,
    kColon,
    kAfterValue,
    kString,
    kEscape,
    kHex,
    kWord,
    kNumber,
  };
  enum class Number : uint8_t { kSign, kZero, kWhole, kPoint, kFraction, kE, kESign, kExponent };

  Step value(char c);
  Step after_value(char c);
  Step open(bool object);
  Step close(bool object);
  Step number(char c);
  bool inside_object() const { return (objects_ >> (depth_ - 1) & 1) != 0; }

  State state_ = State::kStart;
  Number number_ = Number::kSign;
  bool key_ = false;  // the string is a member's name
  int depth_ = 0;
  uint64_t objects_ = 0;  // bit d: what is open at depth d + 1 is an object
  int hex_ = 0;
  std::string_view word_;  // what is left of true, false, null
};

// "\n" and the like behind a backslash; for text that a JSON string shall hold.
void append_json_escaped(std::string& out, char c);

}  // namespace sluice
