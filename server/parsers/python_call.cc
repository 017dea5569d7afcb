#include "server/parsers/python_call.h"

#include <charconv>

#include "server/parsers/json_scanner.h"
#include "server/parsers/parsed_text.h"

namespace sluice {
namespace {

constexpr int kMaxDepth = 32;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// Each function reads at `at` and returns false when what stands there is not its own.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool call(PythonCall& out) {
    if (!name(out.name, true) || !take('(')) return false;
    out.arguments = "{";
    bool first = true;
    while (!take(')')) {
      if (!first && !take(',')) return false;
      if (!first && take(')')) break;
      if (!argument(out.arguments)) return false;
      first = false;
    }
    out.arguments += '}';
    skip();
    return at_ == text_.size();
  }

 private:
  void skip() {
    while (at_ < text_.size() && is_white(text_[at_])) ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  bool name(std::string& out, bool dotted) {
    if (!begins_name(peek())) return false;
    const size_t begin = at_;
    while (at_ < text_.size() && (begins_name(text_[at_]) || is_digit(text_[at_]) ||
                                  (dotted && (text_[at_] == '.' || text_[at_] == '-'))))
      ++at_;
    out.assign(text_.substr(begin, at_ - begin));
    return true;
  }

  static void separate(std::string& out) {
    if (out.size() > 1) out += ", ";
  }

  bool argument(std::string& out) {
    if (peek() == '*') return take('*') && take('*') && take('{') && members(out, 1);
    std::string key;
    if (!name(key, false) || !take('=')) return false;
    separate(out);
    out += '"' + key + "\": ";
    return value(out, 1);
  }

  // Of an open {…}, into an object whose brace stands in `out` already.
  bool members(std::string& out, int depth) {
    bool first = true;
    while (!take('}')) {
      if (!first && !take(',')) return false;
      if (!first && take('}')) break;
      const char quote = peek();
      if (quote != '"' && quote != '\'') return false;
      if (out.back() != '{') out += ", ";
      if (!string(out) || !take(':')) return false;
      out += ": ";
      if (!value(out, depth)) return false;
      first = false;
    }
    return true;
  }

  bool value(std::string& out, int depth) {
    if (depth > kMaxDepth) return false;
    const char c = peek();
    if (c == '"' || c == '\'') return string(out);
    if (c == '{') {
      out += '{';
      ++at_;
      if (!members(out, depth + 1)) return false;
      out += '}';
      return true;
    }
    if (c == '[' || c == '(') return list(out, depth);
    if (is_digit(c) || c == '-') return number(out);
    std::string word;
    if (!name(word, false)) return false;
    if (word == "True" || word == "true")
      out += "true";
    else if (word == "False" || word == "false")
      out += "false";
    else if (word == "None" || word == "null")
      out += "null";
    else
      return false;
    return true;
  }

  bool list(std::string& out, int depth) {
    const char end = text_[at_++] == '[' ? ']' : ')';
    out += '[';
    bool first = true;
    while (!take(end)) {
      if (!first && !take(',')) return false;
      if (!first && take(end)) break;
      if (!first) out += ", ";
      if (!value(out, depth + 1)) return false;
      first = false;
    }
    out += ']';
    return true;
  }

  bool number(std::string& out) {
    const size_t begin = at_;
    while (at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == '.' || text_[at_] == 'e' ||
                                  text_[at_] == 'E' || text_[at_] == '-' || text_[at_] == '+'))
      ++at_;
    const std::string_view digits = text_.substr(begin, at_ - begin);
    // What JSON calls a number, and nothing else.
    JsonScanner scanner;
    for (const char c : std::string_view("{\"n\":")) scanner.push(c);
    for (const char c : digits) {
      if (scanner.push(c) != JsonScanner::Step::kMore) return false;
    }
    if (scanner.push('}') != JsonScanner::Step::kDone) return false;
    out += digits;
    return true;
  }

  bool string(std::string& out) {
    const char quote = text_[at_++];
    out += '"';
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == quote) {
        ++at_;
        out += '"';
        return true;
      }
      if (c != '\\') {
        append_json_escaped(out, c);
        continue;
      }
      if (++at_ == text_.size() || !escape(text_[at_], out)) return false;
    }
    return false;
  }

  // https://docs.python.org/3/reference/lexical_analysis.html#escape-sequences, those JSON knows as well.
  bool escape(char c, std::string& out) {
    switch (c) {
      case 'n':
      case 't':
      case 'r':
      case 'b':
      case 'f':
        out += '\\';
        out += c;
        return true;
      case '\'':
        out += '\'';
        return true;
      case '"':
      case '\\':
      case '/':
        append_json_escaped(out, c);
        return true;
      case 'x':
      case 'u': {
        const size_t digits = c == 'x' ? 2 : 4;
        if (at_ + digits >= text_.size()) return false;
        unsigned code = 0;
        const char* const first = text_.data() + at_ + 1;
        const auto [end, error] = std::from_chars(first, first + digits, code, 16);
        if (error != std::errc() || end != first + digits) return false;
        out += c == 'x' ? "\\u00" : "\\u";
        out.append(first, digits);
        at_ += digits;
        return true;
      }
      default:
        out += "\\\\";  // Python keeps an escape it does not know
        append_json_escaped(out, c);
        return true;
    }
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<PythonCall> parse_python_call(std::string_view text) {
  PythonCall call;
  if (!Reader(text).call(call)) return std::nullopt;
  return call;
}

}  // namespace sluice
