#include "server/parsers/answer_parser.h"

namespace sluice {

AnswerParser::AnswerParser(const AnswerParserOptions& options)
    : reasoning_(options.reasoning, options.reasoning_open),
      max_calls_(options.calls ? options.calls->max_calls : 0) {
  if (options.calls)
    calls_ = options.calls->marks.pythonic ? CallParser::pythonic(*options.calls)
                                           : CallParser::json(*options.calls);
}

void AnswerParser::push(std::string_view text, ParsedText& out) {
  if (calls_ == nullptr) return reasoning_.push(text, out.reasoning, out.content);
  rest_.clear();
  reasoning_.push(text, out.reasoning, rest_);
  calls_->push(rest_, out);
}

void AnswerParser::finish(ParsedText& out) {
  if (calls_ == nullptr) return reasoning_.finish(out.reasoning, out.content);
  rest_.clear();
  reasoning_.finish(out.reasoning, rest_);
  calls_->push(rest_, out);
  calls_->finish(out);
}

}  // namespace sluice
