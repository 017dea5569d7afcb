#include "server/parsers/reasoning_splitter.h"

#include "server/parsers/parsed_text.h"

namespace sluice {

ReasoningSplitter::ReasoningSplitter(const ReasoningMarks& marks, bool open)
    : state_(marks.end.empty() ? State::kContent
             : open            ? State::kOpen
                               : State::kBegin),
      begin_(marks.begin),
      end_(marks.end) {}

void ReasoningSplitter::push(std::string_view text, std::string& reasoning, std::string& content) {
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    switch (state_) {
      case State::kBegin:
      case State::kOpen: {
        if (is_white(c) && !begin_.holds()) {
          white_.push_back(c);
          break;
        }
        released_.clear();
        if (begin_.push(c, released_)) {
          white_.clear();
          state_ = State::kThinking;
        } else if (!released_.empty()) {
          std::string rest = begin_.take_held();
          rest.insert(0, released_);
          if (state_ == State::kOpen) {
            white_.clear();
            state_ = State::kThinking;
          } else {
            content += white_;
            white_.clear();
            state_ = State::kContent;
          }
          push(rest, reasoning, content);  // once per answer: the state never comes back
        }
        break;
      }
      case State::kThinking:
        released_.clear();
        if (end_.push(c, released_)) {
          white_.clear();
          state_ = State::kAfter;
          break;
        }
        for (const char plain : released_) think(plain, reasoning);
        break;
      case State::kAfter:
        if (is_white(c)) break;
        state_ = State::kContent;
        [[fallthrough]];
      case State::kContent:
        content.append(text.substr(i));
        return;
    }
  }
}

void ReasoningSplitter::think(char c, std::string& reasoning) {
  if (is_white(c)) {
    if (thought_) white_.push_back(c);
    return;
  }
  reasoning += white_;
  white_.clear();
  reasoning.push_back(c);
  thought_ = true;
}

void ReasoningSplitter::finish(std::string& reasoning, std::string& content) {
  if (state_ == State::kBegin) {
    content += white_;
    content += begin_.take_held();
  } else if (state_ == State::kOpen) {
    for (const char c : begin_.take_held()) think(c, reasoning);
  } else if (state_ == State::kThinking) {
    for (const char c : end_.take_held()) think(c, reasoning);
  }
  white_.clear();
}

}  // namespace sluice
