// Tells tool calls from the rest of an answer's text as it comes. Whatever turns out not to be a call comes
// out as content, so nothing is lost; what comes out never depends on how the text was cut into pieces. One
// answer, one thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/parsers/parsed_text.h"

namespace sluice {

// How a model writes its calls.
struct CallMarks {
  std::string begin;            // "<tool_call>"; empty: no mark
  std::string end;              // "</tool_call>"; empty: none
  bool bare = false;            // a call may stand at the answer's very beginning without the mark
  bool list = false;            // calls may stand in a JSON array
  bool named = false;           // name[ARGS]{…} may stand behind the mark, as newer Mistral models write
  bool arguments_mark = false;  // and this model does
  bool pythonic = false;        // [f(a=1), g(b="x")] and none of the above
};

struct CallParserOptions {
  CallMarks marks;
  // The request's functions. A call without a mark must name one of them, or else it is content.
  std::vector<std::string> names;
  std::vector<std::string> hidden;  // marks that are special tokens: never part of the content
  int max_calls = 0;                // what follows so many calls is dropped; 0: no bound
};

class CallParser {
 public:
  virtual ~CallParser() = default;
  virtual void push(std::string_view text, ParsedText& out) = 0;
  virtual void finish(ParsedText& out) = 0;
  virtual int calls_begun() const = 0;
  virtual int calls_ended() const = 0;

  static std::unique_ptr<CallParser> json(CallParserOptions options);
  static std::unique_ptr<CallParser> pythonic(CallParserOptions options);
};

}  // namespace sluice
