// [f(a=1), g(b="x")] at the beginning of an answer. A call comes out whole, when its last bracket has come.
#include <algorithm>

#include "server/parsers/call_parser.h"
#include "server/parsers/python_call.h"

namespace sluice {
namespace {

class PythonicParser final : public CallParser {
 public:
  explicit PythonicParser(CallParserOptions options) : options_(std::move(options)) {}

  void push(std::string_view text, ParsedText& out) override {
    for (const char c : text) {
      if (options_.max_calls > 0 && calls_ >= options_.max_calls) return;
      feed(c, out);
    }
  }

  void finish(ParsedText& out) override {
    if (options_.max_calls > 0 && calls_ >= options_.max_calls) return;
    if (state_ == State::kText || calls_ == 0 || !std::all_of(raw_.begin(), raw_.end(), is_white))
      out.content += raw_;
  }

  int calls_begun() const override { return calls_; }
  int calls_ended() const override { return calls_; }

 private:
  enum class State { kBegin, kNext, kName, kCall, kAfterCall, kText, kEnd };

  void feed(char c, ParsedText& out) {
    if (state_ == State::kText) return out.content.push_back(c);
    raw_.push_back(c);
    switch (state_) {
      case State::kBegin:
        if (c == '[') state_ = State::kNext;
        if (c == '[' || is_white(c)) return;
        break;
      case State::kNext:
        if (is_white(c)) return;
        if (!begins_name(c)) break;
        call_.assign(1, c);
        state_ = State::kName;
        return;
      case State::kName:
        call_.push_back(c);
        if (c == '(') {
          depth_ = 1;
          quote_ = '\0';
          state_ = State::kCall;
        }
        if (c == '(' || begins_name(c) || (c >= '0' && c <= '9') || c == '.' || c == '-') return;
        break;
      case State::kCall:
        call_.push_back(c);
        if (!closes(c) || end_call(out)) return;
        break;
      case State::kAfterCall:
        if (c == ',') state_ = State::kNext;
        if (c == ']') {
          state_ = State::kEnd;
          raw_.clear();
        }
        if (c == ',' || c == ']' || is_white(c)) return;
        break;
      default:  // behind the list: white space alone is dropped
        if (is_white(c)) return;
        break;
    }
    out.content += raw_;
    raw_.clear();
    state_ = State::kText;
  }

  static bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

  // Whether `c` is the call's last bracket.
  bool closes(char c) {
    if (quote_ != '\0') {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == quote_)
        quote_ = '\0';
      return false;
    }
    if (c == '"' || c == '\'') quote_ = c;
    if (c == '(' || c == '[' || c == '{') ++depth_;
    if (c == ')' || c == ']' || c == '}') --depth_;
    return depth_ == 0;
  }

  bool end_call(ParsedText& out) {
    const auto call = parse_python_call(call_);
    if (!call || std::find(options_.names.begin(), options_.names.end(), call->name) == options_.names.end())
      return false;
    out.begin_call(calls_, call->name);
    out.add_arguments(calls_++, call->arguments);
    raw_.clear();
    state_ = State::kAfterCall;
    return true;
  }

  const CallParserOptions options_;
  State state_ = State::kBegin;
  std::string raw_;   // since the beginning or the last call: content if no call follows
  std::string call_;  // the text of the call so far
  int depth_ = 0;
  char quote_ = '\0';
  bool escaped_ = false;
  int calls_ = 0;
};

}  // namespace

std::unique_ptr<CallParser> CallParser::pythonic(CallParserOptions options) {
  return std::make_unique<PythonicParser>(std::move(options));
}

}  // namespace sluice
