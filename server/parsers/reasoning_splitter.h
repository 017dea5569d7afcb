// Tells a reasoning model's thoughts from its answer: "<think>…</think>" at the beginning, or only the end
// when the chat template has opened the block in the prompt already. White space around the marks belongs to
// neither side. One answer, one thread.
#pragma once

#include <string>
#include <string_view>

#include "server/parsers/mark_matcher.h"

namespace sluice {

struct ReasoningMarks {
  std::string begin, end;  // empty: the model does not reason
};

class ReasoningSplitter {
 public:
  // `open`: the block is open before the first byte; the model may still repeat the mark.
  ReasoningSplitter(const ReasoningMarks& marks, bool open);

  void push(std::string_view text, std::string& reasoning, std::string& content);
  void finish(std::string& reasoning, std::string& content);
  bool thinking() const { return state_ == State::kOpen || state_ == State::kThinking; }

 private:
  enum class State { kBegin, kOpen, kThinking, kAfter, kContent };

  void think(char c, std::string& reasoning);

  State state_;
  MarkMatcher begin_, end_;
  std::string white_;     // not sent: it may stand before a mark
  std::string released_;  // of a matcher; kept for its memory
  bool thought_ = false;  // some reasoning was sent
};

}  // namespace sluice
