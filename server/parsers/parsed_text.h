// What a model's text turns out to be: reasoning, content and tool calls. Values, no thread of their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// Of one call; the first piece has `begins` and the name, all pieces' arguments joined are a JSON object,
// unless the text broke off or broke the syntax within them.
struct CallPiece {
  int index = 0;  // of the call within its answer
  bool begins = false;
  std::string name;
  std::string arguments;
};

// Appended to by the parsers, emptied by whoever sends it on.
struct ParsedText {
  std::string reasoning, content;
  std::vector<CallPiece> calls;

  void begin_call(int index, std::string name) { calls.push_back({index, true, std::move(name), {}}); }
  void add_arguments(int index, std::string_view more) {
    if (calls.empty() || calls.back().index != index) calls.push_back({index, false, {}, {}});
    calls.back().arguments += more;
  }
  bool empty() const { return reasoning.empty() && content.empty() && calls.empty(); }
  void clear() {
    reasoning.clear();
    content.clear();
    calls.clear();
  }
};

inline bool is_white(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

}  // namespace sluice
