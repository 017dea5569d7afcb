// Formats by name and answers parsed in every cut, for tests.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "server/parsers/answer_parser.h"
#include "server/parsers/dialogue_format.h"

namespace sluice::testing {

inline AnswerParserOptions parser_options(std::string_view calls, std::string_view reasoning = "none",
                                          bool open = false, int max_calls = 0) {
  const auto format = dialogue_format(calls, reasoning, "");
  AnswerParserOptions options;
  options.reasoning = format->reasoning;
  options.reasoning_open = open;
  if (format->calls)
    options.calls = CallParserOptions{format->marks, {"f", "g", "get_weather"}, {}, max_calls};
  return options;
}

struct Parsed {
  std::string reasoning, content;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  bool operator==(const Parsed&) const = default;
};

inline void PrintTo(const Parsed& parsed, std::ostream* out) {
  *out << "reasoning '" << parsed.reasoning << "' content '" << parsed.content << "'";
  for (const auto& [name, arguments] : parsed.calls) *out << " call " << name << " " << arguments;
}

// `pieces` one after another, as a server sends them on.
inline Parsed parse(const AnswerParserOptions& options, const std::vector<std::string_view>& pieces) {
  AnswerParser parser(options);
  Parsed parsed;
  ParsedText out;
  const auto take = [&] {
    parsed.reasoning += out.reasoning;
    parsed.content += out.content;
    for (const CallPiece& piece : out.calls) {
      if (piece.begins) parsed.calls.emplace_back(piece.name, "");
      parsed.calls.at(static_cast<size_t>(piece.index)).second += piece.arguments;
    }
    out.clear();
  };
  for (const std::string_view piece : pieces) {
    parser.push(piece, out);
    take();
  }
  parser.finish(out);
  take();
  return parsed;
}

}  // namespace sluice::testing
