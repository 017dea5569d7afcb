// One log of many: each line with who said it before it, in a colour of its own on a terminal, and below them
// a line of how things stand, written anew in place. One thread.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace sluice::up {

struct ScreenOptions {
  std::FILE* out = stderr;
  bool is_terminal = false;  // else there is no status line
  bool has_colour = false;
};

class Screen {
 public:
  explicit Screen(const ScreenOptions& options) : options_(options) {}
  ~Screen() { status({}); }

  void line(std::string_view who, std::string_view text);
  // Replaces the last one; empty: none.
  void status(std::string text);

 private:
  void erase_status();
  void draw_status();

  const ScreenOptions options_;
  std::string status_;
};

// The first `columns` columns of a UTF-8 text whose characters each take one.
std::string_view fit(std::string_view text, size_t columns);

}  // namespace sluice::up
