// A model's dialogue in tokens: which marks of its format are special tokens, and what a chat request asks of
// tools and reasoning made into parser, grammar and budget. Never changes: any thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/thinking.h"
#include "server/parsers/answer_parser.h"
#include "server/parsers/dialogue_format.h"
#include "server/text/tokenizer.h"
#include "server/wire/chat_request.h"

namespace sluice {

struct Dialogue {
  DialogueFormat format;
  std::vector<std::pair<std::string, int32_t>> special_marks;
  std::vector<int32_t> thinking_begin, thinking_end;  // the marks' tokens

  static Dialogue of(DialogueFormat format, const Tokenizer& tokenizer);
};

// Of one request.
struct DialoguePlan {
  AnswerParserOptions parser;
  std::vector<int32_t> shown;  // special tokens the parser wants to see
  std::optional<GrammarSource> grammar;
  ThinkingBudget thinking;
  bool include_reasoning = true;
  bool short_call_ids = false;  // nine letters and digits, which Mistral's templates insist on
};

// `prompt`: the rendered text. `chat.grammar` is taken over, behind the thoughts where the model has some.
Result<DialoguePlan> plan_dialogue(const Dialogue& dialogue, const ChatRequest& chat,
                                   std::string_view prompt);

// call_… for `tool_calls[].id`.
std::string new_call_id(bool short_id);

}  // namespace sluice
