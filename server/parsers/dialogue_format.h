// How a model writes its reasoning and its tool calls: named as vLLM names its parsers, or read from the
// model's chat template. Values; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/parsers/call_parser.h"
#include "server/parsers/reasoning_splitter.h"

namespace sluice {

struct DialogueFormat {
  std::string call_parser = "none", reasoning_parser = "none";  // the names
  bool calls = false;                                           // a model whose calls are parsed
  CallMarks marks;
  ReasoningMarks reasoning;
  bool always_reasons = false;  // the block is open even where neither prompt nor answer has opened it
};

std::span<const std::string_view> call_parser_names();  // "auto" and "none" among them
std::span<const std::string_view> reasoning_parser_names();

// "auto": what `chat_template` tells. kInvalidArgument names the parsers there are.
Result<DialogueFormat> dialogue_format(std::string_view call_parser, std::string_view reasoning_parser,
                                       std::string_view chat_template);

// Whether a prompt that ends so has opened the block: its last mark is the opening one, with nothing but
// white space behind it.
bool opens_reasoning(const ReasoningMarks& marks, std::string_view prompt);

}  // namespace sluice
