// Walks JSON as it lies: an object's members or an array's elements as slices of the text, found in one pass
// that only looks at quotes and brackets. What it accepts is not checked further (numbers, escapes and UTF-8
// are its reader's to judge); what any JSON reader takes as one value it takes as that value. Nothing is
// built, nothing allocated; depth is bounded. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr size_t kMaxJsonDepth = 512;

class JsonWalk {
 public:
  explicit JsonWalk(std::string_view text) : text_(text) {}

  // Goes into the object (or array) that comes next. False when something else does.
  bool enter_object() { return enter('{'); }
  bool enter_array() { return enter('['); }

  // The next member of the object entered last. False at its end or at a fault.
  bool member(std::string_view& name, std::string_view& value);
  // The next element of the array entered last.
  bool element(std::string_view& value);
  // Nothing but white space is left.
  bool at_end();

  bool failed() const { return failed_; }
  size_t position() const { return at_; }  // of the fault, in bytes

 private:
  bool enter(char open);
  bool next(char close);
  bool take_value(std::string_view& value);
  bool skip_string();  // stands on the opening quote
  bool skip_nested();
  void skip_space();
  bool fail() {
    failed_ = true;
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool first_ = true;
  bool failed_ = false;
};

// The content of a JSON string as it lies (with its quotes): decoded, at most `limit` bytes of it; empty when
// it is no string or no valid one.
std::string decode_json_string(std::string_view value, size_t limit);
inline bool is_json_string(std::string_view value) {
  return value.size() >= 2 && value.front() == '"';
}

}  // namespace sluice
