// Every format whose calls are JSON objects: {"name": …, "arguments": {…}} behind a mark, in a list, bare, or
// with the name before the arguments' object.
#include <algorithm>
#include <array>

#include "server/parsers/call_parser.h"
#include "server/parsers/json_scanner.h"
#include "server/parsers/mark_matcher.h"
#include "server/parsers/object_call.h"

namespace sluice {
namespace {

constexpr size_t kMaxNameBytes = 256;

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == '/' || c == ':';
}

class JsonCallParser final : public CallParser {
 public:
  explicit JsonCallParser(CallParserOptions options)
      : options_(std::move(options)), begin_(options_.marks.begin), call_(options_.names) {}

  void push(std::string_view text, ParsedText& out) override {
    for (const char c : text) {
      if (full()) return;
      feed(c, out);
    }
  }

  void finish(ParsedText& out) override {
    if (full()) return;
    switch (state_) {
      case State::kText:
        if (begun_ == 0) out.content += white_;
        out.content += begin_.take_held();
        break;
      case State::kObject:
        if (!call_.begun()) out.content += raw_;
        break;
      case State::kSection:
        raw_ += word_;
        if (section_calls_ == 0 || !std::all_of(raw_.begin(), raw_.end(), is_white)) out.content += raw_;
        break;
      case State::kTag:
        raw_ += tag_;
        [[fallthrough]];
      default:
        out.content += raw_;
    }
  }

  int calls_begun() const override { return begun_; }
  int calls_ended() const override { return ended_; }

 private:
  // kText -> mark -> kSection -> { -> kObject -> } -> kSection -> end mark -> kText
  //                           -> a name -> kName -> [ARGS] -> kArguments -> { -> kObject
  enum class State { kText, kSection, kName, kTag, kId, kArguments, kObject };

  bool full() const { return options_.max_calls > 0 && ended_ >= options_.max_calls; }

  void feed(char c, ParsedText& out) {
    switch (state_) {
      case State::kText:
        return text(c, out);
      case State::kSection:
        return section(c, out);
      case State::kName:
        return name(c, out);
      case State::kTag:
        return tag(c, out);
      case State::kId:
        return id(c, out);
      case State::kArguments:
        if (is_white(c)) return raw_.push_back(c);
        if (c != '{') return malformed(c, out);
        return begin_object(c, out, true);
      case State::kObject:
        return object(c, out);
    }
  }

  void text(char c, ParsedText& out) {
    if (options_.marks.bare && !seen_text_ && (c == '{' || (c == '[' && options_.marks.list)) &&
        !(c == '[' && options_.marks.begin.starts_with('['))) {
      begin_section(true);
      return section(c, out);
    }
    if (is_white(c) && !begin_.holds()) return white_.push_back(c);
    released_.clear();
    const bool met = begin_.push(c, released_);
    for (const char plain : released_) {
      if (is_white(plain)) {
        white_.push_back(plain);
        continue;
      }
      seen_text_ = true;
      out.content += white_;
      white_.clear();
      out.content.push_back(plain);
    }
    if (!met) return;
    begin_section(false);
    add_mark(begin_.mark());
  }

  void begin_section(bool bare) {
    raw_ = std::exchange(white_, {});
    bare_ = bare;
    listed_ = false;
    section_calls_ = 0;
    word_.clear();
    state_ = State::kSection;
  }

  void end_section(ParsedText& out) {
    if (section_calls_ == 0) out.content += raw_;
    raw_.clear();
    state_ = State::kText;
    seen_text_ = true;
  }

  // Between calls: marks, commas, brackets, the beginning of the next call.
  void section(char c, ParsedText& out) {
    word_.push_back(c);
    const auto begins = [&](const std::string& mark) {
      return !mark.empty() && std::string_view(mark).starts_with(word_);
    };
    const std::string &begin = options_.marks.begin, &end = options_.marks.end;
    if (begins(end) || begins(begin)) {
      if (word_ != end && word_ != begin) return;
      const bool over = word_ == end;
      add_mark(word_);
      word_.clear();
      return over ? end_section(out) : void(listed_ = false);
    }
    // No mark: each byte for itself.
    const std::string bytes = std::exchange(word_, {});
    if (bytes.size() > 1) {
      section_byte(bytes[0], out);
      for (const char byte : std::string_view(bytes).substr(1)) feed(byte, out);
    } else {
      section_byte(c, out);
    }
  }

  void section_byte(char c, ParsedText& out) {
    if (c == '{') return begin_object(c, out, false);
    const bool separates = (c == ',' || c == ';') && section_calls_ > 0;
    const bool opens = c == '[' && options_.marks.list && !listed_ && section_calls_ == 0;
    const bool closes = c == ']' && listed_;
    if (is_white(c) || separates || opens || closes) {
      raw_.push_back(c);
      if (opens) listed_ = true;
      if (closes && (bare_ || options_.marks.end.empty())) return end_section(out);
      if (closes) listed_ = false;
      return;
    }
    if (options_.marks.named && !listed_ && !bare_ && is_name_char(c)) {
      raw_.push_back(c);
      name_.assign(1, c);
      state_ = State::kName;
      return;
    }
    malformed(c, out);
  }

  void name(char c, ParsedText& out) {
    if (is_name_char(c) && name_.size() < kMaxNameBytes) {
      raw_.push_back(c);
      name_.push_back(c);
    } else if (c == '{') {
      begin_object(c, out, true);
    } else if (c == '[') {
      tag_.assign(1, c);
      state_ = State::kTag;
    } else {
      malformed(c, out);
    }
  }

  // [ARGS], or [CALL_ID] with an id of the model's own that is passed over.
  void tag(char c, ParsedText& out) {
    static constexpr std::string_view kArguments = "[ARGS]", kId = "[CALL_ID]";
    tag_.push_back(c);
    if (tag_ == kArguments || tag_ == kId) {
      add_mark(tag_);
      state_ = tag_ == kId ? State::kId : State::kArguments;
    } else if (!kArguments.starts_with(tag_) && !kId.starts_with(tag_)) {
      tag_.pop_back();
      raw_ += tag_;
      malformed(c, out);
    }
  }

  void id(char c, ParsedText& out) {
    if (c == '[') {
      tag_.assign(1, c);
      state_ = State::kTag;
    } else if (is_name_char(c)) {
      raw_.push_back(c);
    } else {
      malformed(c, out);
    }
  }

  void begin_object(char c, ParsedText& out, bool named) {
    if (named)
      call_.begin_arguments(name_);
    else
      call_.begin_object(bare_);
    state_ = State::kObject;
    object(c, out);
  }

  void object(char c, ParsedText& out) {
    const bool was_begun = call_.begun();
    const JsonScanner::Step step = call_.push(c, was_begun ? begun_ - 1 : begun_, out);
    if (!was_begun && call_.begun()) {
      ++begun_;
      raw_.clear();
    }
    if (step == JsonScanner::Step::kBad) return malformed(c, out);
    if (step == JsonScanner::Step::kMore) {
      if (!call_.begun()) raw_.push_back(c);
      return;
    }
    ++section_calls_;
    ++ended_;
    state_ = State::kSection;
  }

  // What came since the mark or the last call is content, `c` the beginning of more text.
  void malformed(char c, ParsedText& out) {
    out.content += raw_;
    raw_.clear();
    seen_text_ = true;
    state_ = State::kText;
    feed(c, out);
  }

  void add_mark(const std::string& mark) {
    const auto& hidden = options_.hidden;
    if (std::find(hidden.begin(), hidden.end(), mark) == hidden.end()) raw_ += mark;
  }

  const CallParserOptions options_;
  MarkMatcher begin_;
  ObjectCall call_;
  State state_ = State::kText;
  std::string white_;  // before what may be a mark
  std::string raw_;    // since the mark or the last call: content if this is no call
  std::string word_;   // in a section: a beginning of a mark
  std::string name_, tag_, released_;
  bool seen_text_ = false;
  bool bare_ = false, listed_ = false;
  int section_calls_ = 0, begun_ = 0, ended_ = 0;
};

}  // namespace

std::unique_ptr<CallParser> CallParser::json(CallParserOptions options) {
  return std::make_unique<JsonCallParser>(std::move(options));
}

}  // namespace sluice
