#include "server/wire/responses_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

// The chat reader checks these; they mean the same there.
constexpr std::string_view kPassed[] = {"model",
                                        "temperature",
                                        "top_p",
                                        "top_k",
                                        "min_p",
                                        "seed",
                                        "stop",
                                        "stop_token_ids",
                                        "ignore_eos",
                                        "min_tokens",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "logit_bias",
                                        "allowed_token_ids",
                                        "bad_words",
                                        "include_stop_str_in_output",
                                        "skip_special_tokens",
                                        "cache_salt",
                                        "priority",
                                        "timeout",
                                        "stream",
                                        "user",
                                        "metadata",
                                        "parallel_tool_calls",
                                        "chat_template",
                                        "chat_template_kwargs",
                                        "enable_thinking",
                                        "include_reasoning",
                                        "thinking_token_budget",
                                        "structured_outputs"};
void append_member(std::string& out, std::string_view name, std::string_view json) {
  out += ',';
  append_json_string(out, name);
  out += ':';
  out += json;
}

std::string quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// The member as the request has it, or `otherwise`.
std::string_view text_or(RequestFields& fields, std::string_view name, std::string_view otherwise) {
  const auto value = fields.any(name);
  return value ? value->text() : otherwise;
}

// {"type":"function","name",…} becomes {"type":"function","function":{"name",…}}.
std::vector<std::pair<std::string, std::string>> translate_tools(RequestFields& fields) {
  std::vector<std::pair<std::string, std::string>> tools;  // name, JSON
  const auto array = fields.array("tools");
  if (!array) return tools;
  int index = 0;
  array->for_each([&](JsonText element) {
    auto tool = RequestFields::of(element, fmt::format("tools[{}].", index++), 64);
    if (!tool.ok()) {
      fields.fail("tools", tool.error().message);
      return false;
    }
    const std::string type = tool->string("type", 64).value_or("");
    if (type != "function")
      tool->fail("type", fmt::format("'{}' is '{}'; the only tools served are functions.",
                                     tool->full_name("type"), type.substr(0, 48)));
    const auto name = tool->string("name", 1024);
    if (!name) tool->fail("name", fmt::format("'{}' must be a string.", tool->full_name("name")));
    if (!tool->ok()) {
      fields.fail("tools", tool->error().message);
      return false;
    }
    std::string json = R"({"type":"function","function":{"name":)" + quoted(*name);
    for (const char* member : {"description", "parameters", "strict"}) {
      if (const auto value = tool->any(member)) append_member(json, member, value->text());
    }
    tools.emplace_back(*name, json + "}}");
    return true;
  });
  return tools;
}

// {"type":"allowed_tools","mode","tools":[{"type":"function","name"}]}: those alone, by that mode.
std::optional<std::string> choose_among(RequestFields& choice,
                                        std::vector<std::pair<std::string, std::string>>& tools) {
  const std::string mode = choice.string("mode", 16).value_or("auto");
  if (mode != "auto" && mode != "required") {
    choice.fail("mode", "'tool_choice.mode' must be \"auto\" or \"required\".");
    return std::nullopt;
  }
  std::vector<std::string> names;
  if (const auto allowed = choice.array("tools")) {
    allowed->for_each([&](JsonText element) {
      auto tool = RequestFields::of(element, "tool_choice.tools[].");
      const auto name = tool.ok() ? tool->string("name", 1024) : std::nullopt;
      if (!name) choice.fail("tools", "'tool_choice.tools' must be objects with a 'name'.");
      if (name) names.push_back(*name);
      return choice.ok();
    });
  }
  for (const std::string& name : names) {
    if (std::ranges::find(tools, name, &std::pair<std::string, std::string>::first) == tools.end())
      choice.fail("tools",
                  fmt::format("'tool_choice' names '{}', which is not among 'tools'.", name.substr(0, 128)));
  }
  std::erase_if(tools, [&](const auto& tool) { return std::ranges::find(names, tool.first) == names.end(); });
  return quoted(mode);
}

void translate_tools_and_choice(RequestFields& fields, std::string& out) {
  auto tools = translate_tools(fields);
  std::string choice_json;
  if (const auto choice = fields.any("tool_choice"); choice && fields.ok()) {
    choice_json = choice->text();
    if (choice->kind() == JsonText::Kind::kObject) {
      auto inner = RequestFields::of(*choice, "tool_choice.");
      if (!inner.ok()) return fields.fail("tool_choice", inner.error().message);
      if (inner->string("type", 64).value_or("") == "allowed_tools")
        choice_json = choose_among(*inner, tools).value_or("");
      if (!inner->ok()) return fields.fail("tool_choice", inner->error().message);
    }
  }
  if (!tools.empty()) {
    std::string list = "[";
    for (const auto& [name, json] : tools) list += (list.size() > 1 ? "," : "") + json;
    append_member(out, "tools", list + "]");
  }
  if (!choice_json.empty()) append_member(out, "tool_choice", choice_json);
}

// text.format: chat's response_format, flat.
void translate_format(RequestFields& fields, std::string& out, std::string& echo) {
  const auto text = fields.object("text");
  std::string_view format_json = R"({"type":"text"})";
  if (text) {
    auto inner = RequestFields::of(*text, "text.");
    if (!inner.ok()) return fields.fail("text", inner.error().message);
    if (const auto format = inner->object("format")) {
      format_json = format->text();
      auto members = RequestFields::of(*format, "text.format.");
      if (!members.ok()) return fields.fail("text", members.error().message);
      const std::string type = members->string("type", 64).value_or("");
      if (type == "json_schema") {
        const auto schema = members->any("schema");
        if (!schema) return fields.fail("text", "'text.format.schema' is missing.");
        append_member(
            out, "response_format",
            R"({"type":"json_schema","json_schema":{"schema":)" + std::string(schema->text()) + "}}");
      } else if (type == "json_object") {
        append_member(out, "response_format", R"({"type":"json_object"})");
      } else if (type != "text") {
        return fields.fail("text",
                           "'text.format.type' must be \"text\", \"json_object\" or \"json_schema\".");
      }
    }
    if (!inner->ok()) return fields.fail("text", inner->error().message);
  }
  append_member(echo, "text", R"({"format":)" + std::string(format_json) + "}");
}

void translate_reasoning(RequestFields& fields, std::string& out, std::string& echo) {
  std::string effort = "null";
  if (const auto reasoning = fields.object("reasoning")) {
    auto inner = RequestFields::of(*reasoning, "reasoning.");
    if (!inner.ok()) return fields.fail("reasoning", inner.error().message);
    if (const auto value = inner->string("effort", 64)) {
      effort = quoted(*value);
      append_member(out, "reasoning_effort", effort);
    }
    if (!inner->ok()) fields.fail("reasoning", inner->error().message);
  }
  append_member(echo, "reasoning", R"({"effort":)" + effort + R"(,"summary":null})");
}

void translate_logprobs(RequestFields& fields, const WireLimits& limits, std::string& out,
                        std::string& echo) {
  const auto top = fields.integer("top_logprobs", 0, {limits.max_logprobs, "--max-logprobs"});
  bool asked = top && *top > 0;
  if (const auto include = fields.array("include")) {
    include->for_each([&](JsonText element) {
      asked = asked || (element.kind() == JsonText::Kind::kString &&
                        element.string() == "message.output_text.logprobs");
      return true;
    });
  }
  if (asked) append_member(out, "logprobs", "true");
  if (asked) append_member(out, "top_logprobs", std::to_string(top.value_or(0)));
  append_member(echo, "top_logprobs", std::to_string(top.value_or(0)));
}

void refuse_unserved(RequestFields& fields) {
  const std::array<std::pair<const char*, const char*>, 2> kUnserved = {
      {{"conversation", "conversations are not served; chain responses by 'previous_response_id'"},
       {"prompt", "stored prompts are not served; send 'instructions' and 'input'"}}};
  for (const auto& [name, why] : kUnserved) {
    if (fields.any(name)) fields.fail(name, fmt::format("'{}' is not accepted: {}.", name, why));
  }
}

void translate_items(RequestFields& fields, const WireLimits& limits, const ResponseMemory& memory,
                     const std::string& id, ResponsesRequest& request) {
  ItemTranslator items(
      limits, [&](const std::string& item_id) { return memory.item(item_id); }, id);
  const auto place_of = [](int index) { return fmt::format("input[{}]", index); };
  std::vector<const ResponseTurn*> turns;
  for (auto* turn = request.before.get(); turn != nullptr; turn = turn->before.get()) turns.push_back(turn);
  for (auto turn = turns.rbegin(); turn != turns.rend(); ++turn) {
    const std::string array = "[" + (*turn)->items + "]";
    const auto checked = JsonText::check(array, limits.max_json_depth + 8);
    if (!checked.ok()) return fields.fail("previous_response_id", checked.error().message);
    checked->for_each([&](JsonText item) {
      items.add(fields, item, "the earlier responses");
      return fields.ok();
    });
  }
  items.start_listing();
  const auto input = fields.any("input");
  if (!input) return fields.fail("input", "'input' is missing; send a text or an array of items.");
  if (input->kind() == JsonText::Kind::kString) {
    items.add_user_text(input->string());
  } else if (input->kind() == JsonText::Kind::kArray) {
    int index = 0;
    input->for_each([&](JsonText item) {
      if (index == limits.max_messages)
        fields.fail("input",
                    fmt::format("'input' has more than {} items (--max-messages).", limits.max_messages));
      else
        items.add(fields, item, place_of(index++));
      return fields.ok();
    });
    if (index == 0 && request.before == nullptr)
      fields.fail("input", "'input' is empty; send at least one item.");
  } else {
    return fields.fail("input", fmt::format("'input' must be a string or an array of items, not {}.",
                                            describe(input->kind())));
  }
  request.input_items = items.items();
  for (std::string& message : items.finish()) request.messages.push_back(std::move(message));
}

}  // namespace

Result<ResponsesRequest> parse_responses_request(std::string_view body, const WireLimits& limits,
                                                 const ResponseMemory& memory, const std::string& id) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  ResponsesRequest request;
  refuse_unserved(fields);
  request.model = fields.string("model", 1024).value_or("");
  request.store = fields.boolean("store").value_or(true);
  request.stream = fields.boolean("stream").value_or(false);
  request.background = fields.boolean("background").value_or(false);
  const std::string truncation = fields.string("truncation", 16).value_or("disabled");
  if (truncation != "auto" && truncation != "disabled")
    fields.fail("truncation", "'truncation' must be \"auto\" or \"disabled\".");
  request.truncate = truncation == "auto";
  if (request.background && !request.store)
    fields.fail("background", "'background' needs 'store': nobody could ask for the answer.");

  std::string& echo = request.echo;
  const auto previous = fields.string("previous_response_id", 256);
  if (previous && fields.ok()) {
    SLUICE_ASSIGN(request.before, memory.turn(*previous));
  }
  append_member(echo, "previous_response_id", previous ? quoted(*previous) : "null");
  const auto instructions = fields.string("instructions", static_cast<size_t>(-1));
  if (instructions) {
    request.has_instructions = true;
    request.messages.push_back(R"({"role":"system","content":)" + quoted(*instructions) + "}");
  }
  append_member(echo, "instructions", instructions ? quoted(*instructions) : "null");
  translate_items(fields, limits, memory, id, request);

  std::string& members = request.members;
  for (const std::string_view name : kPassed) {
    if (const auto value = fields.any(name)) append_member(members, name, value->text());
  }
  const auto max_tokens = fields.integer("max_output_tokens", 1, std::numeric_limits<int>::max());
  if (max_tokens) append_member(members, "max_completion_tokens", std::to_string(*max_tokens));
  append_member(echo, "max_output_tokens", max_tokens ? std::to_string(*max_tokens) : "null");
  translate_tools_and_choice(fields, members);
  translate_format(fields, members, echo);
  translate_reasoning(fields, members, echo);
  translate_logprobs(fields, limits, members, echo);
  append_member(echo, "tools", text_or(fields, "tools", "[]"));
  append_member(echo, "tool_choice", text_or(fields, "tool_choice", R"("auto")"));
  append_member(echo, "parallel_tool_calls", text_or(fields, "parallel_tool_calls", "true"));
  append_member(echo, "max_tool_calls", text_or(fields, "max_tool_calls", "null"));
  append_member(echo, "metadata", text_or(fields, "metadata", "{}"));
  append_member(echo, "user", text_or(fields, "user", "null"));
  append_member(echo, "truncation", quoted(truncation));
  append_member(echo, "store", request.store ? "true" : "false");
  append_member(echo, "background", request.background ? "true" : "false");
  append_member(echo, "service_tier", R"("default")");
  SLUICE_TRY(fields.status());
  (void)fields.any("stream_options");  // include_obfuscation: nothing is obfuscated here
  accept_idle_fields(fields);
  request.ignored = fields.unread();
  return request;
}

std::string chat_body_of(const ResponsesRequest& request, size_t skip) {
  std::string out = R"({"messages":[)";
  const size_t kept = request.has_instructions ? 1 : 0;
  bool first = true;
  for (size_t i = 0; i < request.messages.size(); ++i) {
    if (i >= kept && i < kept + skip) continue;
    if (!first) out += ',';
    first = false;
    out += request.messages[i];
  }
  return out + "]" + request.members + "}";
}

Error in_responses_words(Error error) {
  static constexpr std::array<std::pair<std::string_view, const char*>, 4> kNames = {
      {{"messages", "input"},
       {"max_completion_tokens", "max_output_tokens"},
       {"max_tokens", "max_output_tokens"},
       {"response_format", "text"}}};
  for (const auto& [chat, own] : kNames) {
    if (error.param == chat) error.param = own;
  }
  return error;
}

}  // namespace sluice
