// The grammar of tool calls as a model writes them, in llguidance's dialect of Lark
// (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md): what it allows, the same format's
// parser reads back as calls whose arguments are instances of their schemas. Any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/parsers/dialogue_format.h"

namespace sluice {

// Names of letters, digits, '_', '-' and '.'; `parameters` is checked JSON text of an object.
struct CallSignature {
  std::string name, parameters;
};

struct CallGrammarOptions {
  int max_calls = 1;
  bool optional_reasoning = false;  // the answer may begin with a block of thoughts
  bool open_reasoning = false;      // it begins within one
  // Marks that are special tokens, with their ids: text that spells them is something else.
  std::vector<std::pair<std::string, int32_t>> special_marks;
};

// Whether calls of a format can be told from other text by a mark, so that both may stand in one grammar.
bool marks_calls(const DialogueFormat& format);

// From one to max_calls calls of `functions`, which are not empty, and nothing beside them.
std::string call_grammar(const DialogueFormat& format, std::span<const CallSignature> functions,
                         const CallGrammarOptions& options);

// Any text, and calls as above within it; marks_calls(format) holds.
std::string text_or_call_grammar(const DialogueFormat& format, std::span<const CallSignature> functions,
                                 const CallGrammarOptions& options);

// An answer that matches `text` (of `kind` "json_schema", "regex" or "lark") behind the thoughts that
// `options` tell of.
std::string grammar_behind_reasoning(const DialogueFormat& format, std::string_view kind,
                                     std::string_view text, const CallGrammarOptions& options);

}  // namespace sluice
