#include "server/wire/anthropic_request.h"

#include <fmt/format.h>

#include <limits>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

constexpr size_t kNoLimit = static_cast<size_t>(-1);

void append_member(std::string& out, std::string_view name, std::string_view json) {
  out += out.back() == '{' ? "" : ",";
  append_json_string(out, name);
  out += ':';
  out += json;
}

std::string quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// A text, or an array of text blocks joined by line breaks.
std::optional<std::string> read_text_blocks(RequestFields& fields, std::string_view name, JsonText value) {
  if (value.kind() == JsonText::Kind::kString) return value.string();
  if (value.kind() != JsonText::Kind::kArray) {
    fields.fail(name,
                fmt::format("'{}' must be a string or an array of text blocks.", fields.full_name(name)));
    return std::nullopt;
  }
  std::string text;
  int count = 0;
  value.for_each([&](JsonText block) {
    auto inner = RequestFields::of(block, fmt::format("{}[{}].", fields.full_name(name), count));
    const std::string type = inner.ok() ? inner->string("type", 64).value_or("") : "";
    const auto piece = type == "text" ? inner->string("text", kNoLimit) : std::nullopt;
    if (!piece) {
      fields.fail(name, fmt::format("'{}[{}]' must be a text block: {{\"type\": \"text\", \"text\": ...}}.",
                                    fields.full_name(name), count));
      return false;
    }
    if (count++ > 0) text += '\n';
    text += *piece;
    return true;
  });
  return text;
}

// One Anthropic message may be several of a chat: each tool_result is a message of its own.
class ConversationWriter {
 public:
  explicit ConversationWriter(const WireLimits& limits) : limits_(limits) {}

  void add(std::string_view role, std::string_view text, std::string_view more = {}) {
    out_ += out_.size() > 1 ? "," : "";
    out_ += R"({"role":)";
    append_json_string(out_, role);
    out_ += R"(,"content":)";
    append_json_string(out_, text);
    out_ += more;
    out_ += '}';
    ++count_;
  }

  void add_message(RequestFields& message) {
    const std::string role = message.string("role", 64).value_or("");
    if (role != "user" && role != "assistant") {
      return message.fail("role",
                          fmt::format("'{}' must be \"user\" or \"assistant\".", message.full_name("role")));
    }
    const auto content = message.any("content");
    if (!content)
      return message.fail("content", fmt::format("'{}' is missing.", message.full_name("content")));
    if (content->kind() == JsonText::Kind::kString) return add(role, content->string());
    if (content->kind() != JsonText::Kind::kArray) {
      return message.fail("content", fmt::format("'{}' must be a string or an array of blocks.",
                                                 message.full_name("content")));
    }
    Parts parts;
    int index = 0;
    content->for_each([&](JsonText block) {
      const std::string place = fmt::format("{}[{}]", message.full_name("content"), index++);
      auto fields = RequestFields::of(block, place + ".");
      if (!fields.ok()) {
        message.fail("content", fields.error().message);
        return false;
      }
      add_block(*fields, place, role, parts);
      if (!fields->ok()) message.fail("content", fields->error().message);
      return fields->ok();
    });
    if (!message.ok()) return;
    std::string more;
    if (!parts.reasoning.empty()) more += R"(,"reasoning_content":)" + quoted(parts.reasoning);
    if (!parts.calls.empty()) more += R"(,"tool_calls":[)" + parts.calls + "]";
    if (parts.has_text || !more.empty()) add(role, parts.text, more);
  }

  std::string json() const { return out_ + "]"; }
  int count() const { return count_; }

 private:
  struct Parts {
    std::string text, reasoning, calls;
    bool has_text = false;
  };

  void add_block(RequestFields& block, const std::string& place, std::string_view role, Parts& parts) {
    const std::string type = block.string("type", 64).value_or("");
    if (type == "text") {
      const auto text = block.string("text", kNoLimit);
      if (!text) return block.fail("text", fmt::format("'{}.text' is missing.", place));
      if (parts.has_text) parts.text += '\n';
      parts.has_text = true;
      parts.text += *text;
    } else if (type == "thinking" && role == "assistant") {
      parts.reasoning += block.string("thinking", kNoLimit).value_or("");
    } else if (type == "redacted_thinking" && role == "assistant") {
      return;  // nobody but its writer can read it
    } else if (type == "tool_use" && role == "assistant") {
      const auto id = block.string("id", 1024), name = block.string("name", 1024);
      const auto input = block.object("input");
      if (!id || !name) return block.fail("", fmt::format("'{}' needs 'id' and 'name'.", place));
      if (!parts.calls.empty()) parts.calls += ',';
      parts.calls += R"({"type":"function","id":)" + quoted(*id) + R"(,"function":{"name":)" + quoted(*name) +
                     R"(,"arguments":)" + quoted(input ? input->text() : "{}") + "}}";
    } else if (type == "tool_result" && role == "user") {
      add_result(block, place);
    } else {
      block.fail("type",
                 fmt::format("'{}' has the type '{}', which a message of the {} cannot have here (this "
                             "model takes text, tool use and results, and thinking; no images or files).",
                             place, type.substr(0, 32), role));
    }
  }

  void add_result(RequestFields& block, const std::string& place) {
    const auto id = block.string("tool_use_id", 1024);
    if (!id) return block.fail("tool_use_id", fmt::format("'{}.tool_use_id' is missing.", place));
    std::string text;
    if (const auto content = block.any("content")) {
      auto read = read_text_blocks(block, "content", *content);
      if (!read) return;
      text = std::move(*read);
    }
    if (block.boolean("is_error").value_or(false)) text = "Error: " + text;
    add("tool", text, R"(,"tool_call_id":)" + quoted(*id));
  }

  const WireLimits& limits_;
  std::string out_ = "[";
  int count_ = 0;
};

void translate_messages(RequestFields& fields, const WireLimits& limits, std::string& out) {
  ConversationWriter conversation(limits);
  if (const auto system = fields.any("system")) {
    if (const auto text = read_text_blocks(fields, "system", *system)) conversation.add("system", *text);
  }
  const auto messages = fields.array("messages");
  if (!messages || messages->element_count(1) == 0) {
    return fields.fail("messages", "'messages' is missing or empty; send at least one message.");
  }
  if (messages->element_count(static_cast<size_t>(limits.max_messages) + 1) >
      static_cast<size_t>(limits.max_messages)) {
    return fields.fail("messages", fmt::format("'messages' has more than {} messages (--max-messages).",
                                               limits.max_messages));
  }
  int index = 0;
  messages->for_each([&](JsonText element) {
    auto message = RequestFields::of(element, fmt::format("messages[{}].", index++), 64);
    if (!message.ok()) {
      fields.fail("messages", message.error().message);
      return false;
    }
    conversation.add_message(*message);
    if (!message->ok()) fields.fail(message->error().param, message->error().message);
    return fields.ok();
  });
  append_member(out, "messages", conversation.json());
}

// [{"name","description","input_schema"}] to [{"type":"function","function":{…}}].
void translate_tools(RequestFields& fields, const WireLimits& limits, std::string& out) {
  const auto tools = fields.array("tools");
  if (!tools || tools->element_count(1) == 0) return;
  std::string list = "[";
  int index = 0;
  tools->for_each([&](JsonText element) {
    const std::string place = fmt::format("tools[{}]", index++);
    auto tool = RequestFields::of(element, place + ".", 64);
    if (!tool.ok()) {
      fields.fail("tools", tool.error().message);
      return false;
    }
    const std::string type = tool->string("type", 64).value_or("custom");
    const auto name = tool->string("name", limits.max_tool_name_bytes);
    const auto schema = tool->object("input_schema");
    if (type != "custom")
      tool->fail("type",
                 fmt::format("'{}' is a '{}'; only custom tools (functions) are served.", place, type));
    if (!name || !schema) tool->fail("", fmt::format("'{}' needs 'name' and 'input_schema'.", place));
    if (!tool->ok()) {
      fields.fail("tools", tool->error().message);
      return false;
    }
    list += list.size() > 1 ? "," : "";
    list += R"({"type":"function","function":{"name":)" + quoted(*name);
    if (const auto description = tool->string("description", kNoLimit))
      list += R"(,"description":)" + quoted(*description);
    list.append(R"(,"parameters":)").append(schema->text()) += "}}";
    return true;
  });
  append_member(out, "tools", list + "]");
}

void translate_tool_choice(RequestFields& fields, std::string& out) {
  const auto choice = fields.object("tool_choice");
  if (!choice) return;
  auto inner = RequestFields::of(*choice, "tool_choice.");
  if (!inner.ok()) return fields.fail("tool_choice", inner.error().message);
  const std::string type = inner->string("type", 64).value_or("");
  if (type == "auto" || type == "none") {
    append_member(out, "tool_choice", quoted(type));
  } else if (type == "any") {
    append_member(out, "tool_choice", R"("required")");
  } else if (type == "tool") {
    const auto name = inner->string("name", 1024);
    if (!name) return fields.fail("tool_choice", "'tool_choice.name' is missing.");
    append_member(out, "tool_choice", R"({"type":"function","function":{"name":)" + quoted(*name) + "}}");
  } else {
    return fields.fail("tool_choice", "'tool_choice.type' must be \"auto\", \"any\", \"tool\" or \"none\".");
  }
  if (inner->boolean("disable_parallel_tool_use").value_or(false))
    append_member(out, "parallel_tool_calls", "false");
  if (!inner->ok()) fields.fail("tool_choice", inner->error().message);
}

}  // namespace

Result<ChatRequest> parse_messages_request(std::string_view body, const WireLimits& limits,
                                           const ChatDialect& dialect, bool counting) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  std::string out = "{";
  if (const auto model = fields.string("model", 1024)) append_member(out, "model", quoted(*model));
  const auto max_tokens = fields.integer("max_tokens", 1, std::numeric_limits<int>::max());
  if (!max_tokens && !counting) fields.fail("max_tokens", "'max_tokens' is missing; it must be at least 1.");
  if (max_tokens) append_member(out, "max_tokens", std::to_string(*max_tokens));
  // These are the same in both APIs; the chat reader checks their bounds.
  for (const char* name : {"temperature", "top_p", "top_k", "stream", "metadata", "thinking"}) {
    if (const auto value = fields.any(name)) append_member(out, name, value->text());
  }
  if (const auto stop = fields.array("stop_sequences")) append_member(out, "stop", stop->text());
  translate_messages(fields, limits, out);
  translate_tools(fields, limits, out);
  translate_tool_choice(fields, out);
  SLUICE_TRY(fields.status());
  out += '}';
  auto chat = parse_chat_request(out, limits, dialect);
  if (chat.ok()) {
    chat->ignored = fields.unread();
    return chat;
  }
  Error error = std::move(chat).error();
  if (error.param == "stop") error.param = "stop_sequences";
  return error;
}

std::string token_count_body(size_t tokens) {
  return fmt::format(R"({{"input_tokens":{}}})", tokens);
}

}  // namespace sluice
