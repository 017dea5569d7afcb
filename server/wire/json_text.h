// Reading JSON where it lies: a body is checked once as a whole (syntax, UTF-8, depth), then walked as slices
// of its own text. Nothing is built for what nobody asks, so a body costs no more memory than its bytes;
// slices keep their members' order, which chat templates show to the model. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice {

// A value within a checked text, which must outlive it.
class JsonText {
 public:
  enum class Kind : uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };

  struct Member;

  // kInvalidArgument with the place of the first fault, or when values nest deeper than `max_depth`.
  static Result<JsonText> check(std::string_view text, int max_depth);

  Kind kind() const;
  std::string_view text() const { return text_; }  // without white space around it

  bool boolean() const { return text_ == "true"; }
  // A number's value; exact for integers within int64.
  double number() const;
  std::optional<int64_t> integer() const;  // also 3.0; none when it has a fraction or does not fit
  std::string string() const;              // decoded
  // Of an object, in order; the last of equal names counts (`find` in RequestFields). `limit`: an Error when
  // there are more.
  Result<std::vector<Member>> members(size_t limit) const;
  // Of an array, in order, until `visit` returns false.
  void for_each(const std::function<bool(JsonText element)>& visit) const;
  size_t element_count(size_t stop_at) const;  // counts no further than `stop_at`

 private:
  explicit JsonText(std::string_view text) : text_(text) {}
  std::string_view text_;
};

struct JsonText::Member {
  std::string name;
  JsonText value;
};

// "an array", "a string", …: for messages.
std::string_view describe(JsonText::Kind kind);

}  // namespace sluice
