#include "server/wire/dialogue_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "server/wire/closed_schema.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

constexpr int kMaxBudget = 1 << 28;

bool is_function_name(std::string_view name, size_t max_bytes) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= max_bytes && std::all_of(name.begin(), name.end(), good);
}

// The schema with "type": "object" where it says no type; a fault when it says another one.
std::string object_schema(RequestFields& function, const std::optional<JsonText>& parameters) {
  if (!parameters) return R"({"type":"object","properties":{},"additionalProperties":false})";
  const auto members = parameters->members(256);
  if (!members.ok()) {
    function.fail("parameters", fmt::format("'{}' has too many members.", function.full_name("parameters")));
    return "{}";
  }
  for (const auto& [name, value] : *members) {
    if (name != "type") continue;
    if (value.kind() != JsonText::Kind::kString || value.string() != "object") {
      function.fail("parameters", fmt::format("'{}' must be the schema of an object (\"type\": \"object\").",
                                              function.full_name("parameters")));
    }
    return std::string(parameters->text());
  }
  std::string out = R"({"type":"object")";
  if (!members->empty()) out += ',';
  return out.append(parameters->text().substr(1));
}

std::optional<ToolFunction> read_function(RequestFields& fields, JsonText tool, int index,
                                          const WireLimits& limits) {
  auto one = RequestFields::of(tool, fmt::format("tools[{}].", index));
  if (!one.ok()) {
    fields.fail("tools", one.error().message);
    return std::nullopt;
  }
  const std::string type = one->string("type", 64).value_or("function");
  if (type != "function")
    one->fail("type", fmt::format("'{}' is '{}'; the only tools served are functions.",
                                  one->full_name("type"), type));
  const auto object = one->object("function");
  if (!object) one->fail("function", fmt::format("'{}' must be an object.", one->full_name("function")));
  if (!one->ok()) {
    fields.fail("tools", one->error().message);
    return std::nullopt;
  }
  auto inner = RequestFields::of(*object, one->full_name("function."));
  if (!inner.ok()) {
    fields.fail("tools", inner.error().message);
    return std::nullopt;
  }
  ToolFunction function;
  function.name = inner->string("name", 1024).value_or("");
  if (!is_function_name(function.name, limits.max_tool_name_bytes)) {
    inner->fail("name", fmt::format("'{}' must have from 1 to {} letters, digits, '_', '-' and '.'.",
                                    inner->full_name("name"), limits.max_tool_name_bytes));
  }
  function.parameters = with_closed_objects(object_schema(*inner, inner->object("parameters")));
  function.strict = inner->boolean("strict").value_or(false);
  if (!inner->ok()) {
    fields.fail("tools", inner->error().message);
    return std::nullopt;
  }
  return function;
}

void read_functions(RequestFields& fields, const WireLimits& limits, ToolFields& out) {
  const auto tools = fields.array("tools");
  if (!tools) return;
  if (tools->text().size() > limits.max_tools_bytes) {
    return fields.fail("tools", fmt::format("'tools' has {} bytes; at most {} are accepted.",
                                            tools->text().size(), limits.max_tools_bytes));
  }
  tools->for_each([&](JsonText tool) {
    if (out.functions.size() == static_cast<size_t>(limits.max_tools)) {
      fields.fail("tools", fmt::format("'tools' has more than {} tools.", limits.max_tools));
      return false;
    }
    auto function = read_function(fields, tool, static_cast<int>(out.functions.size()), limits);
    if (!function) return false;
    for (const ToolFunction& other : out.functions) {
      if (other.name != function->name) continue;
      fields.fail("tools", fmt::format("'tools' has two functions named '{}'.", function->name));
      return false;
    }
    out.functions.push_back(std::move(*function));
    return true;
  });
  if (!out.functions.empty()) out.template_tools = tools->text();
}

// {"type": "function", "function": {"name": …}}; also {"type": "function", "name": …}.
std::optional<std::string> named_function(RequestFields& fields, JsonText choice) {
  auto named = RequestFields::of(choice, "tool_choice.");
  if (!named.ok()) {
    fields.fail("tool_choice",
                "'tool_choice' must be \"none\", \"auto\", \"required\" or "
                "{\"type\": \"function\", \"function\": {\"name\": ...}}.");
    return std::nullopt;
  }
  const std::string type = named->string("type", 64).value_or("function");
  if (type != "function") {
    fields.fail("tool_choice", fmt::format("'tool_choice.type' is '{}'; it must be \"function\".", type));
    return std::nullopt;
  }
  auto name = named->string("name", 1024);
  if (const auto function = named->object("function")) {
    auto inner = RequestFields::of(*function, "tool_choice.function.");
    if (inner.ok()) name = inner->string("name", 1024);
  }
  if (!name) fields.fail("tool_choice", "'tool_choice.function.name' is missing.");
  return name;
}

}  // namespace

ToolFields read_tool_fields(RequestFields& fields, const WireLimits& limits) {
  ToolFields out;
  read_functions(fields, limits, out);
  out.parallel = fields.boolean("parallel_tool_calls").value_or(true);
  out.choice = out.functions.empty() ? ToolFields::Choice::kNone : ToolFields::Choice::kAuto;
  const auto choice = fields.any("tool_choice");
  if (!choice || !fields.ok()) return out;
  const std::string mode = choice->kind() == JsonText::Kind::kString ? choice->string() : "";
  if (mode == "none") {
    out.choice = ToolFields::Choice::kNone;
    out.functions.clear();
    out.template_tools.clear();
    return out;
  }
  if (mode == "auto") return out;
  std::optional<std::string> name;
  if (mode != "required") {
    name = named_function(fields, *choice);
    if (!name) return out;
  }
  if (out.functions.empty()) {
    fields.fail("tool_choice", "'tool_choice' asks for a call, but 'tools' has no function.");
    return out;
  }
  out.choice = name ? ToolFields::Choice::kNamed : ToolFields::Choice::kRequired;
  if (!name) return out;
  const auto found = std::find_if(out.functions.begin(), out.functions.end(),
                                  [&](const ToolFunction& function) { return function.name == *name; });
  if (found == out.functions.end()) {
    fields.fail("tool_choice",
                fmt::format("'tool_choice' names '{}', which is not among 'tools'.", name->substr(0, 128)));
    return out;
  }
  ToolFunction only = std::move(*found);
  out.functions.clear();
  out.functions.push_back(std::move(only));
  return out;
}

ReasoningFields read_reasoning_fields(RequestFields& fields) {
  static constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium",
                                                               "high", "xhigh",   "max"};
  ReasoningFields out;
  out.include = fields.boolean("include_reasoning").value_or(true);
  std::optional<bool> enable = fields.boolean("enable_thinking");
  if (const auto effort = fields.string("reasoning_effort", 64)) {
    if (std::find(kEfforts.begin(), kEfforts.end(), *effort) == kEfforts.end()) {
      fields.fail("reasoning_effort",
                  fmt::format("'reasoning_effort' must be one of {}.", fmt::join(kEfforts, ", ")));
    }
    if (*effort == "none" && !enable) enable = false;
    out.template_variables += R"(,"reasoning_effort":)";
    append_json_string(out.template_variables, *effort);
  }
  if (const auto budget = fields.integer("thinking_token_budget", 0, kMaxBudget))
    out.budget_tokens = static_cast<int>(*budget);
  // As Anthropic's API has it: {"type": "enabled", "budget_tokens": 1024}.
  if (const auto thinking = fields.object("thinking")) {
    auto inner = RequestFields::of(*thinking, "thinking.");
    if (!inner.ok()) {
      fields.fail("thinking", inner.error().message);
      return out;
    }
    const std::string type = inner->string("type", 64).value_or("");
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      inner->fail("type", "'thinking.type' must be \"enabled\", \"disabled\" or \"adaptive\".");
    if (!enable && type != "adaptive") enable = type == "enabled";
    const auto budget = inner->integer("budget_tokens", 0, kMaxBudget);
    if (budget && !out.budget_tokens) out.budget_tokens = static_cast<int>(*budget);
    if (!inner->ok()) fields.fail("thinking", inner->error().message);
  }
  if (enable)
    out.template_variables += *enable ? R"(,"enable_thinking":true)" : R"(,"enable_thinking":false)";
  return out;
}

}  // namespace sluice
