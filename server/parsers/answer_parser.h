// One answer's text, as it comes, to reasoning, content and tool calls. What comes out, joined, never depends
// on how the text was cut. One answer, one thread.
#pragma once

#include <memory>
#include <optional>

#include "server/parsers/call_parser.h"
#include "server/parsers/reasoning_splitter.h"

namespace sluice {

struct AnswerParserOptions {
  ReasoningMarks reasoning;     // empty: none
  bool reasoning_open = false;  // the prompt has opened the block
  std::optional<CallParserOptions> calls;

  bool active() const { return !reasoning.end.empty() || calls.has_value(); }
};

class AnswerParser {
 public:
  explicit AnswerParser(const AnswerParserOptions& options);

  void push(std::string_view text, ParsedText& out);
  void finish(ParsedText& out);  // after the last push, once

  bool thinking() const { return reasoning_.thinking(); }
  int calls_begun() const { return calls_ ? calls_->calls_begun() : 0; }
  // As many calls as may be have ended: what follows is dropped.
  bool full() const { return max_calls_ > 0 && calls_->calls_ended() >= max_calls_; }
  int calls_ended() const { return calls_ ? calls_->calls_ended() : 0; }

 private:
  ReasoningSplitter reasoning_;
  std::unique_ptr<CallParser> calls_;
  const int max_calls_;
  std::string rest_;  // what is no reasoning; kept for its memory
};

}  // namespace sluice
