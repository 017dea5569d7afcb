#include "server/api/dialogue.h"

#include <algorithm>
#include <random>

#include "server/parsers/call_grammar.h"

namespace sluice {
namespace {

// A bound on a constrained answer that would go on for ever.
constexpr int kMaxForcedCalls = 16;

bool prompt_has_closed(const ReasoningMarks& marks, std::string_view prompt) {
  while (!prompt.empty() && is_white(prompt.back())) prompt.remove_suffix(1);
  return prompt.ends_with(marks.end);
}

// Whether the final message, which the answer goes on with, has a block of thoughts that is still open.
bool message_is_open(const ReasoningMarks& marks, const std::string& message) {
  const size_t begin = message.rfind(marks.begin), end = message.rfind(marks.end);
  return begin != std::string::npos && (end == std::string::npos || end < begin);
}

// `free`: the model may also say something else; only strict functions are then held to their schemas.
std::string grammar_of(const DialogueFormat& format, const ToolFields& tools, bool free,
                       const CallGrammarOptions& options) {
  std::vector<CallSignature> signatures;
  for (const ToolFunction& function : tools.functions)
    signatures.push_back(
        {function.name, function.strict || !free ? function.parameters : R"({"type":"object"})"});
  return free ? text_or_call_grammar(format, signatures, options) : call_grammar(format, signatures, options);
}

bool any_strict(const ToolFields& tools) {
  return std::any_of(tools.functions.begin(), tools.functions.end(),
                     [](const ToolFunction& function) { return function.strict; });
}

}  // namespace

Dialogue Dialogue::of(DialogueFormat format, const Tokenizer& tokenizer) {
  Dialogue dialogue;
  const auto note = [&](const std::string& mark) {
    const int32_t id = mark.empty() ? -1 : tokenizer.id_of(mark);
    if (id >= 0 && tokenizer.is_special(id)) dialogue.special_marks.emplace_back(mark, id);
  };
  note(format.marks.begin);
  note(format.marks.end);
  if (format.marks.named) {
    note("[ARGS]");
    note("[CALL_ID]");
  }
  note(format.reasoning.begin);
  note(format.reasoning.end);
  const auto tokens_of = [&](const std::string& mark) {
    auto ids = tokenizer.encode(mark, false, true);
    return ids.ok() ? std::move(ids).value() : std::vector<int32_t>();
  };
  if (!format.reasoning.end.empty()) {
    dialogue.thinking_begin = tokens_of(format.reasoning.begin);
    dialogue.thinking_end = tokens_of(format.reasoning.end);
  }
  dialogue.format = std::move(format);
  return dialogue;
}

Result<DialoguePlan> plan_dialogue(const Dialogue& dialogue, const ChatRequest& chat,
                                   std::string_view prompt) {
  using Choice = ToolFields::Choice;
  const DialogueFormat& format = dialogue.format;
  DialoguePlan plan;
  plan.include_reasoning = chat.reasoning.include;
  plan.grammar = chat.grammar;
  CallGrammarOptions lead;
  if (!format.reasoning.end.empty()) {
    plan.parser.reasoning = format.reasoning;
    plan.parser.reasoning_open =
        chat.continue_final_message
            ? message_is_open(format.reasoning, chat.final_message)
            : opens_reasoning(format.reasoning, prompt) ||
                  (format.always_reasons && !prompt_has_closed(format.reasoning, prompt));
    lead.open_reasoning = plan.parser.reasoning_open;
    lead.optional_reasoning = !chat.continue_final_message && !prompt_has_closed(format.reasoning, prompt);
    lead.special_marks = dialogue.special_marks;
    plan.thinking.open = plan.parser.reasoning_open;
    plan.thinking.tokens = chat.reasoning.budget_tokens.value_or(-1);
    plan.thinking.begin_ids = dialogue.thinking_begin;
    plan.thinking.end_ids = dialogue.thinking_end;
  }
  if (chat.grammar && (lead.open_reasoning || lead.optional_reasoning)) {
    plan.grammar->text = grammar_behind_reasoning(format, chat.grammar->kind, chat.grammar->text, lead);
    plan.grammar->kind = "lark";
  }

  const ToolFields& tools = chat.tools;
  if (tools.choice == Choice::kRequired || tools.choice == Choice::kNamed) {
    const char* const param = "tool_choice";
    if (!format.calls)
      return invalid_argument(param,
                              "This server parses no tool calls (--tool-call-parser none), so none can "
                              "be required.");
    if (chat.grammar)
      return invalid_argument(param,
                              "A required tool call cannot be combined with 'response_format' or "
                              "structured outputs; leave one of them out.");
    lead.special_marks = dialogue.special_marks;
    lead.max_calls = tools.parallel && tools.choice == Choice::kRequired ? kMaxForcedCalls : 1;
    plan.grammar = GrammarSource{"lark", grammar_of(format, tools, false, lead), "tools"};
  } else if (tools.choice == Choice::kAuto && !chat.grammar && any_strict(tools) && marks_calls(format)) {
    lead.special_marks = dialogue.special_marks;
    lead.max_calls = tools.parallel ? kMaxForcedCalls : 1;
    plan.grammar = GrammarSource{"lark", grammar_of(format, tools, true, lead), "tools"};
  }
  if (tools.choice != Choice::kNone && format.calls) {
    CallParserOptions calls;
    calls.marks = format.marks;
    for (const ToolFunction& function : tools.functions) calls.names.push_back(function.name);
    for (const auto& [mark, id] : dialogue.special_marks) calls.hidden.push_back(mark);
    calls.max_calls = tools.parallel && tools.choice != Choice::kNamed ? 0 : 1;
    plan.parser.calls = std::move(calls);
    plan.short_call_ids = format.marks.named;
  }
  if (plan.parser.active()) {
    for (const auto& [mark, id] : dialogue.special_marks) {
      const bool thinks = mark == plan.parser.reasoning.begin || mark == plan.parser.reasoning.end;
      if (thinks || plan.parser.calls) plan.shown.push_back(id);
    }
  }
  return plan;
}

std::string new_call_id(bool short_id) {
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id = short_id ? "" : "call_";
  for (int i = 0; i < (short_id ? 9 : 24); ++i) id += kLetters[random() % kLetters.size()];
  return id;
}

}  // namespace sluice
