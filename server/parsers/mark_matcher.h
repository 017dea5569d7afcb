// Finds a mark such as "<tool_call>" in text that comes byte by byte. One text, one thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace sluice {

class MarkMatcher {
 public:
  explicit MarkMatcher(std::string mark) : mark_(std::move(mark)) {}

  // True: `c` completes the mark. Else bytes that are no part of it are appended to `released`.
  bool push(char c, std::string& released) {
    if (mark_.empty()) {
      released.push_back(c);
      return false;
    }
    held_.push_back(c);
    size_t plain = 0;  // bytes at the front that no mark begins with
    while (!std::string_view(mark_).starts_with(std::string_view(held_).substr(plain))) ++plain;
    released.append(held_, 0, plain);
    held_.erase(0, plain);
    if (held_.size() < mark_.size()) return false;
    held_.clear();
    return true;
  }
  // The text is over: what was held back is plain.
  std::string take_held() { return std::exchange(held_, {}); }
  bool holds() const { return !held_.empty(); }
  const std::string& mark() const { return mark_; }

 private:
  const std::string mark_;
  std::string held_;  // a beginning of the mark
};

}  // namespace sluice
