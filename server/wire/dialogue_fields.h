// The fields of a chat request about tools and reasoning, read and checked; what the chat template sees of
// them. https://platform.openai.com/docs/guides/function-calling; reasoning as vLLM spells it. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/wire/generation_fields.h"

namespace sluice {

struct ToolFunction {
  std::string name;
  std::string parameters;  // JSON text of an object's schema
  bool strict = false;
};

struct ToolFields {
  enum class Choice : uint8_t { kNone, kAuto, kRequired, kNamed };
  Choice choice = Choice::kNone;
  std::vector<ToolFunction> functions;  // with kNamed that one alone; with kNone none
  bool parallel = true;                 // several calls in one answer
  std::string template_tools;           // the array as the request has it; empty: none
};

struct ReasoningFields {
  bool include = true;               // in the answer
  std::optional<int> budget_tokens;  // thinking ends after so many
  std::string template_variables;    // ,"enable_thinking":…,"reasoning_effort":… as far as given
};

// Faults go to `fields`. A function without parameters takes none.
ToolFields read_tool_fields(RequestFields& fields, const WireLimits& limits);
ReasoningFields read_reasoning_fields(RequestFields& fields);

}  // namespace sluice
