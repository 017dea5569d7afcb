#include "server/wire/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

constexpr size_t kNoLimit = static_cast<size_t>(-1);

struct Conversation {
  std::string json = "[";
  size_t text_bytes = 0;
  std::string last_role, last_text;
  std::vector<std::string> covered;
  int count = 0;
};

// A message's content as one text; parts are joined by newlines, as vLLM does for templates that expect a
// string.
std::optional<std::string> read_content(RequestFields& message, const std::string& role) {
  const auto content = message.any("content");
  if (!content) {
    if (role != "assistant")
      message.fail("content", fmt::format("'{}' is missing.", message.full_name("content")));
    return "";  // an assistant's message may consist of tool calls alone
  }
  if (content->kind() == JsonText::Kind::kString) return content->string();
  if (content->kind() != JsonText::Kind::kArray) {
    message.fail("content", fmt::format("'{}' must be a string or an array of text parts, not {}.",
                                        message.full_name("content"), describe(content->kind())));
    return std::nullopt;
  }
  std::string text;
  int index = 0;
  content->for_each([&](JsonText part) {
    const std::string place = fmt::format("{}[{}]", message.full_name("content"), index);
    auto fields = RequestFields::of(part, place + ".");
    if (!fields.ok()) {
      message.fail("content", fields.error().message);
      return false;
    }
    const std::string type = fields->string("type", 64).value_or("");
    if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal") {
      message.fail(
          "content",
          fmt::format("'{}' has the type '{}'; this model takes text parts only (no images, sound or files).",
                      place, type.substr(0, 32)));
      return false;
    }
    const auto piece = fields->string(type == "refusal" ? "refusal" : "text", kNoLimit);
    if (!piece) {
      message.fail("content",
                   fields->ok() ? fmt::format("'{}.text' is missing.", place) : fields->error().message);
      return false;
    }
    if (index++ > 0) text += '\n';
    text += *piece;
    return true;
  });
  return text;
}

// {"id","type","function":{"name","arguments"}}: arguments come as a string of JSON, templates want the
// object.
void append_tool_call(std::string& out, RequestFields& message, JsonText call, int max_depth) {
  auto fields = RequestFields::of(call, message.full_name("tool_calls[]."));
  if (!fields.ok()) return message.fail("tool_calls", fields.error().message);
  const auto function = fields->object("function");
  if (!function)
    return message.fail("tool_calls",
                        fmt::format("'{}' needs an object 'function'.", message.full_name("tool_calls[]")));
  auto inner = RequestFields::of(*function, message.full_name("tool_calls[].function."));
  if (!inner.ok()) return message.fail("tool_calls", inner.error().message);
  const auto name = inner->string("name", 1024);
  if (!name)
    return message.fail("tool_calls", fmt::format("'{}' must be a string.", inner->full_name("name")));
  out += R"({"id":)";
  append_json_string(out, fields->string("id", 1024).value_or(""));
  out += R"(,"type":"function","function":{"name":)";
  append_json_string(out, *name);
  out += R"(,"arguments":)";
  const auto arguments = inner->any("arguments");
  if (!arguments) {
    out += "{}";
  } else if (arguments->kind() != JsonText::Kind::kString) {
    out += arguments->text();
  } else {
    const std::string text = arguments->string();
    const auto object = JsonText::check(text, max_depth);
    if (object.ok() && object->kind() == JsonText::Kind::kObject)
      out += object->text();
    else
      append_json_string(out, text);
  }
  out += "}}";
  if (!fields->ok()) message.fail("tool_calls", fields->error().message);
}

void append_message(Conversation& conversation, RequestFields& message, const WireLimits& limits,
                    const ChatDialect& dialect) {
  static constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                             "assistant", "tool",      "function"};
  std::string role = message.string("role", 64).value_or("");
  if (!message.ok()) return;
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    return message.fail("role", fmt::format("'{}' must be system, developer, user, assistant or tool.",
                                            message.full_name("role")));
  }
  const auto content = read_content(message, role);
  if (!content || !message.ok()) return;
  conversation.text_bytes += content->size();
  if (role == "developer" && !dialect.template_knows_developer) role = "system";
  std::string& out = conversation.json;
  if (conversation.count++ > 0) out += ',';
  out += R"({"role":)";
  append_json_string(out, role);
  out += R"(,"content":)";
  append_json_string(out, dialect.cover ? dialect.cover(*content, conversation.covered) : *content);
  if (const auto calls = message.array("tool_calls"); calls && calls->element_count(1) > 0) {
    out += R"(,"tool_calls":[)";
    bool first = true;
    calls->for_each([&](JsonText call) {
      if (!first) out += ',';
      first = false;
      append_tool_call(out, message, call, limits.max_json_depth);
      return message.ok();
    });
    out += ']';
  }
  // What else a message carries (name, tool_call_id, reasoning_content, …) some template may read.
  for (const auto& member : message.members()) {
    if (member.name == "role" || member.name == "content" || member.name == "tool_calls") continue;
    if (member.value.kind() == JsonText::Kind::kNull) continue;
    out += ',';
    append_json_string(out, member.name);
    out += ':';
    out += member.value.text();
    conversation.text_bytes += member.value.text().size();
  }
  out += '}';
  conversation.last_role = role;
  conversation.last_text = *content;
}

Conversation read_messages(RequestFields& fields, const WireLimits& limits, const ChatDialect& dialect) {
  Conversation conversation;
  const auto messages = fields.array("messages");
  if (!messages) {
    fields.fail("messages", "'messages' is missing; send an array with at least one message.");
    return conversation;
  }
  int index = 0;
  messages->for_each([&](JsonText element) {
    if (index == limits.max_messages) {
      fields.fail("messages",
                  fmt::format("'messages' has more than {} messages (--max-messages).", limits.max_messages));
      return false;
    }
    auto message = RequestFields::of(element, fmt::format("messages[{}].", index++), 64);
    Status status = message.ok() ? Status() : Status(message.error());
    if (message.ok()) {
      append_message(conversation, *message, limits, dialect);
      status = message->status();
    }
    if (!status.ok()) fields.fail(status.error().param, status.error().message);
    return status.ok();
  });
  if (index == 0) fields.fail("messages", "'messages' is empty; send at least one message.");
  conversation.json += ']';
  return conversation;
}

void append_template_kwargs(std::string& out, RequestFields& fields) {
  const auto kwargs = fields.object("chat_template_kwargs");
  if (!kwargs) return;
  const auto members = kwargs->members(64);
  if (!members.ok())
    return fields.fail("chat_template_kwargs", "'chat_template_kwargs' has more than 64 members.");
  // The conversation itself and what frames it come from their own fields only.
  static constexpr std::array<std::string_view, 8> kOurs = {
      "messages",  "tools",     "documents", "add_generation_prompt", "continue_final_message",
      "bos_token", "eos_token", "tokenize"};
  for (const auto& [name, value] : *members) {
    if (std::find(kOurs.begin(), kOurs.end(), name) != kOurs.end()) {
      return fields.fail("chat_template_kwargs",
                         fmt::format("'chat_template_kwargs' may not set '{}'.", name));
    }
    out += ',';
    append_json_string(out, name);
    out += ':';
    out += value.text();
  }
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body, const WireLimits& limits,
                                       const ChatDialect& dialect) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  ChatRequest request;
  request.fields = read_generation_fields(fields, limits);
  read_continuation(fields, limits, request.fields);
  if (const auto tokens = fields.integer("max_completion_tokens", 1, std::numeric_limits<int>::max())) {
    request.fields.max_tokens = static_cast<int>(*tokens);
  }
  if (request.fields.max_tokens && *request.fields.max_tokens < 1)
    fields.fail("max_tokens", "'max_tokens' must be at least 1.");
  const bool logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, {limits.max_logprobs, "--max-logprobs"});
  if (top && *top > 0 && !logprobs)
    fields.fail("top_logprobs", "'top_logprobs' needs 'logprobs' to be true.");
  if (logprobs) request.fields.logprobs = static_cast<int>(top.value_or(0));
  if (request.fields.max_tokens && request.fields.min_tokens > *request.fields.max_tokens) {
    fields.fail("min_tokens", "'min_tokens' must not be above 'max_tokens'.");
  }
  refuse_unserved_fields(fields, dialect.trusts_request_template);
  if (dialect.trusts_request_template)
    request.chat_template = fields.string("chat_template", limits.max_template_bytes).value_or("");
  request.grammar = read_output_format(fields, limits);

  ChatDialect spoken = dialect;
  if (!request.chat_template.empty())
    spoken.template_knows_developer = request.chat_template.find("developer") != std::string::npos;
  Conversation conversation = read_messages(fields, limits, spoken);
  const bool generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  request.continue_final_message = fields.boolean("continue_final_message").value_or(false);
  if (request.continue_final_message && fields.boolean("add_generation_prompt").value_or(false)) {
    fields.fail("continue_final_message",
                "'continue_final_message' and 'add_generation_prompt' cannot both be true.");
  }
  request.covered = std::move(conversation.covered);
  if (conversation.last_role == "assistant") request.final_message = conversation.last_text;

  std::string& out = request.template_variables;
  out = R"({"messages":)";
  out += conversation.json;
  request.tools = read_tool_fields(fields, limits);
  if (!request.tools.template_tools.empty()) {
    out += R"(,"tools":)";
    out += request.tools.template_tools;
  }
  request.reasoning = read_reasoning_fields(fields);
  out += request.reasoning.template_variables;
  if (const auto documents = fields.array("documents")) {
    out += R"(,"documents":)";
    out += documents->text();
  }
  append_template_kwargs(out, fields);
  out += R"(,"add_generation_prompt":)";
  out += generation_prompt && !request.continue_final_message ? "true" : "false";
  out += R"(,"continue_final_message":)";
  out += request.continue_final_message ? "true" : "false";
  out += '}';
  SLUICE_TRY(fields.status());
  if (conversation.text_bytes > limits.max_prompt_bytes) {
    return prompt_too_large("messages", conversation.text_bytes, limits);
  }
  accept_idle_fields(fields);
  request.ignored = fields.unread();
  return request;
}

}  // namespace sluice
