#include "server/parsers/call_grammar.h"

#include <fmt/format.h>

#include "server/parsers/json_scanner.h"

namespace sluice {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) append_json_escaped(out, c);
  return out + '"';
}

// The schema with the white space a template shows, and no other: a small model would fill pages with it.
std::string one_line_schema(std::string_view schema) {
  static constexpr std::string_view kSpacing =
      R"("x-guidance": {"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "})";
  std::string_view rest = schema.substr(1);
  while (!rest.empty() && is_white(rest.front())) rest.remove_prefix(1);
  return fmt::format("{{{}{}{}", kSpacing, rest.starts_with('}') ? "" : ", ", rest);
}

std::string with_slashes_escaped(std::string_view regex) {
  std::string out;
  for (size_t i = 0; i < regex.size(); ++i) {
    if (regex[i] == '\\' && i + 1 < regex.size())
      out += regex[i++];
    else if (regex[i] == '/')
      out += '\\';
    out += regex[i];
  }
  return out;
}

// `text` as a regular expression that matches itself.
std::string in_regex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(R"(\.+*?()|[]{}^$/)").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

class Writer {
 public:
  Writer(const DialogueFormat& format, std::span<const CallSignature> functions,
         const CallGrammarOptions& options)
      : marks_(format.marks), reasoning_(format.reasoning), functions_(functions), options_(options) {}

  // Calls and nothing else.
  std::string write() const {
    std::string out = fmt::format("start: {}calls\n", lead()) + calls();
    return out + call_rules(mark(marks_.begin) + " ") + thoughts();
  }

  // Text, broken by the mark and what belongs behind it. A text of a mark that is no token of its own ends
  // with it; the last text has none.
  std::string write_free() const {
    const bool special = is_special(marks_.begin);
    std::string out = fmt::format("start: {}(text call){{0,{}}} REST?\n", lead(), options_.max_calls);
    out += special ? fmt::format("text: REST? {}\nREST: /(?s:.+)/\n", mark(marks_.begin))
                   : fmt::format("text[suffix={}]: /(?s:.*)/\nREST: /(?s:.+)/ & ~/(?s:.*){}(?s:.*)/\n",
                                 quoted(marks_.begin), in_regex(marks_.begin));
    return out + call_rules("") + thoughts();
  }

  std::string write(std::string_view kind, std::string_view text) const {
    std::string out = fmt::format("start: {}body\n", lead());
    if (kind == "json_schema")
      out += fmt::format("body: %json {}\n", text);
    else if (kind == "regex")
      out += fmt::format("body: /{}/\n", with_slashes_escaped(text));
    else
      out += fmt::format("body: %lark {{\n{}\n}}\n", text);
    return out + thoughts();
  }

 private:
  std::string thoughts() const {
    std::string out;
    if (thinks()) {
      if (is_special(reasoning_.end))
        out += fmt::format("think_rest: THOUGHTS {}\nTHOUGHTS: /(?s:.*)/\n", mark(reasoning_.end));
      else
        out += fmt::format("think_rest[suffix={}]: /(?s:.*)/\n", quoted(reasoning_.end));
      out += "GAP: /[ \\n]{1,4}/\n";
    }
    return out;
  }

  bool thinks() const { return options_.open_reasoning || options_.optional_reasoning; }

  std::string lead() const {
    if (!thinks()) return "";
    if (options_.open_reasoning) return "think_rest GAP? ";
    return fmt::format("({} think_rest GAP?)? ", mark(reasoning_.begin));
  }

  // More calls behind the first, `between` two of them.
  std::string more(std::string_view between) const {
    if (options_.max_calls < 2) return "";
    return fmt::format(" ({} call){{0,{}}}", quoted(between), options_.max_calls - 1);
  }

  std::string calls() const {
    if (marks_.pythonic) return fmt::format("calls: \"[\" call{} \"]\"\n", more(", "));
    if (marks_.arguments_mark) return fmt::format("calls: call{{1,{}}}\n", options_.max_calls);
    if (marks_.list && marks_.bare) {
      return options_.max_calls < 2 ? "calls: call\n"
                                    : fmt::format("calls: call | \"[\" call{} \"]\"\n", more(", "));
    }
    if (marks_.list) return fmt::format("calls: {} \"[\" call{} \"]\"\n", mark(marks_.begin), more(", "));
    return fmt::format("calls: call{}\n", more(marks_.end.empty() ? "; " : "\n"));
  }

  // `begin`: what a call begins with that has a mark of its own.
  std::string call_rules(const std::string& begin) const {
    std::string out = "call: ";
    const bool listed = begin.empty() && marks_.list && !marks_.arguments_mark;
    for (size_t i = 0; i < functions_.size(); ++i) out += fmt::format("{}call_{}", i > 0 ? " | " : "", i);
    out += '\n';
    for (size_t i = 0; i < functions_.size(); ++i) {
      const std::string body = call(begin, functions_[i].name, fmt::format("arguments_{}", i));
      out += fmt::format("call_{}: {}{}{}\n", i, listed ? "\"[\" " : "", body, listed ? " \"]\"" : "");
      out += fmt::format("arguments_{}: %json {}\n", i, one_line_schema(functions_[i].parameters));
    }
    return out;
  }

  std::string call(const std::string& begin, const std::string& name, const std::string& arguments) const {
    if (marks_.pythonic) return fmt::format("{} {} \")\"", quoted(name + "(**"), arguments);
    if (marks_.arguments_mark)
      return fmt::format("{}{} {} {}", begin, quoted(name), mark("[ARGS]"), arguments);
    const bool llama = marks_.bare && !marks_.list;
    std::string object = R"({"name": ")" + name + (llama ? R"(", "parameters": )" : R"(", "arguments": )");
    object = fmt::format("{} {} \"}}\"", quoted(object), arguments);
    if (marks_.list || marks_.end.empty()) return object;
    return fmt::format("{}\"\\n\" {} \"\\n\" {}", begin, object, mark(marks_.end));
  }

  bool is_special(std::string_view text) const {
    for (const auto& [spelling, id] : options_.special_marks) {
      if (spelling == text) return true;
    }
    return false;
  }

  std::string mark(std::string_view text) const {
    for (const auto& [spelling, id] : options_.special_marks) {
      if (spelling == text) return fmt::format("<[{}]>", id);
    }
    return quoted(text);
  }

  const CallMarks& marks_;
  const ReasoningMarks& reasoning_;
  const std::span<const CallSignature> functions_;
  const CallGrammarOptions& options_;
};

}  // namespace

std::string call_grammar(const DialogueFormat& format, std::span<const CallSignature> functions,
                         const CallGrammarOptions& options) {
  return Writer(format, functions, options).write();
}

bool marks_calls(const DialogueFormat& format) {
  return format.calls && !format.marks.begin.empty() && !format.marks.bare;
}

std::string text_or_call_grammar(const DialogueFormat& format, std::span<const CallSignature> functions,
                                 const CallGrammarOptions& options) {
  return Writer(format, functions, options).write_free();
}

std::string grammar_behind_reasoning(const DialogueFormat& format, std::string_view kind,
                                     std::string_view text, const CallGrammarOptions& options) {
  return Writer(format, {}, options).write(kind, text);
}

}  // namespace sluice
