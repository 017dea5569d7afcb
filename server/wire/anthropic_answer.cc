// Answers of Anthropic's Messages API: https://docs.anthropic.com/en/api/messages and …/messages-streaming.
// One choice; its reasoning, text and tool calls are content blocks, in the order they come.
#include "server/wire/answer_format.h"
#include "server/wire/error_body.h"
#include "server/wire/json_out.h"
#include "server/wire/json_text.h"

namespace sluice {
namespace {

void append_usage_members(std::string& out, const Usage& usage) {
  out += R"("input_tokens":)";
  append_json(out, int64_t{usage.prompt_tokens} - usage.cached_tokens);
  out += R"(,"cache_creation_input_tokens":0,"cache_read_input_tokens":)";
  append_json(out, int64_t{usage.cached_tokens});
  out += R"(,"output_tokens":)";
  append_json(out, int64_t{usage.completion_tokens});
}

void append_stop(std::string& out, const ChoiceEnd* end) {
  std::string_view reason = "end_turn";
  if (end == nullptr) {
    out += R"("stop_reason":null,"stop_sequence":null)";
    return;
  }
  if (end->finish_reason == "length") reason = "max_tokens";
  if (end->finish_reason == "tool_calls") reason = "tool_use";
  if (end->stop_string) reason = "stop_sequence";
  out.append(R"("stop_reason":")").append(reason).append(R"(","stop_sequence":)");
  if (end->stop_string)
    append_json_string(out, *end->stop_string);
  else
    out += "null";
}

// The arguments of a call that was cut are no JSON; an object they must be.
void append_input(std::string& out, const std::string& arguments) {
  const auto checked = JsonText::check(arguments, 64);
  out += checked.ok() && checked->kind() == JsonText::Kind::kObject ? checked->text() : "{}";
}

class MessagesAnswer final : public AnswerFormat {
 public:
  explicit MessagesAnswer(const AnswerOptions& options) : options_(options) {}

  void append_opening(std::string& out, int, const Usage& usage) override {
    begin_event(out, "message_start");
    out += R"("message":)";
    append_head(out);
    out += R"("content":[],)";
    append_stop(out, nullptr);
    out += R"(,"usage":{)";
    append_usage_members(out, usage);
    out += "}}";
    end_event(out);
  }

  void append_delta(std::string& out, const ChoiceDelta& delta, const Usage*, const Timings*) override {
    if (!delta.reasoning.empty()) {
      enter(out, Block::kThinking, R"({"type":"thinking","thinking":"","signature":""})");
      append_piece(out, "thinking_delta", "thinking", delta.reasoning);
    }
    if (!delta.text.empty()) {
      enter(out, Block::kText, R"({"type":"text","text":""})");
      append_piece(out, "text_delta", "text", delta.text);
    }
    for (const ToolCallPiece& piece : delta.tool_calls) {
      if (!piece.id.empty()) {
        leave(out);
        std::string block = R"({"type":"tool_use","id":)";
        append_json_string(block, piece.id);
        block += R"(,"name":)";
        append_json_string(block, piece.name);
        enter(out, Block::kToolUse, block + R"(,"input":{}})");
      }
      if (!piece.arguments.empty()) append_piece(out, "input_json_delta", "partial_json", piece.arguments);
    }
    if (delta.end != nullptr) end_ = *delta.end;
  }

  void append_ending(std::string& out, const Usage& usage, const Timings&) override {
    if (block_ == Block::kNone && blocks_ == 0) enter(out, Block::kText, R"({"type":"text","text":""})");
    leave(out);
    begin_event(out, "message_delta");
    out += R"("delta":{)";
    append_stop(out, &end_);
    out += R"(},"usage":{)";
    append_usage_members(out, usage);
    out += '}';
    end_event(out);
    out += "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
  }

  void append_error(std::string& out, const Error& error) override {
    out += "event: error\ndata: ";
    out += error_body(error, ErrorStyle::kAnthropic, options_.request_id);
    out += "\n\n";
  }

  std::string whole(std::span<const WholeChoice> choices, const Usage& usage, const Timings&) override {
    const WholeChoice& choice = choices.front();
    std::string out, content;
    append_head(out);
    const auto begin_block = [&] { content += content.empty() ? "" : ","; };
    if (!choice.reasoning.empty()) {
      content += R"({"type":"thinking","thinking":)";
      append_json_string(content, choice.reasoning);
      content += R"(,"signature":""})";
    }
    if (!choice.text.empty() || (choice.tool_calls.empty() && choice.reasoning.empty())) {
      begin_block();
      content += R"({"type":"text","text":)";
      append_json_string(content, choice.text);
      content += '}';
    }
    for (const ToolCall& call : choice.tool_calls) {
      begin_block();
      content += R"({"type":"tool_use","id":)";
      append_json_string(content, call.id);
      content += R"(,"name":)";
      append_json_string(content, call.name);
      content += R"(,"input":)";
      append_input(content, call.arguments);
      content += '}';
    }
    out += R"("content":[)" + content + "],";
    append_stop(out, &choice.end);
    out += R"(,"usage":{)";
    append_usage_members(out, usage);
    out += "}}";
    return out;
  }

 private:
  enum class Block : uint8_t { kNone, kThinking, kText, kToolUse };

  void append_head(std::string& out) const {
    out += R"({"id":)";
    append_json_string(out, "msg_" + options_.request_id);
    out += R"(,"type":"message","role":"assistant","model":)";
    append_json_string(out, options_.model);
    out += ',';
  }
  static void begin_event(std::string& out, std::string_view type) {
    out.append("event: ").append(type).append("\ndata: {\"type\":\"").append(type).append("\",");
  }
  static void end_event(std::string& out) { out += "}\n\n"; }

  void enter(std::string& out, Block block, std::string_view begin) {
    if (block_ == block) return;
    leave(out);
    block_ = block;
    begin_event(out, "content_block_start");
    out += R"("index":)";
    append_json(out, int64_t{blocks_});
    out.append(R"(,"content_block":)").append(begin);
    end_event(out);
  }
  void leave(std::string& out) {
    if (block_ == Block::kNone) return;
    begin_event(out, "content_block_stop");
    out += R"("index":)";
    append_json(out, int64_t{blocks_++});
    end_event(out);
    block_ = Block::kNone;
  }
  void append_piece(std::string& out, std::string_view type, std::string_view member, std::string_view text) {
    begin_event(out, "content_block_delta");
    out += R"("index":)";
    append_json(out, int64_t{blocks_});
    out.append(R"(,"delta":{"type":")").append(type).append("\",\"").append(member).append("\":");
    append_json_string(out, text);
    out += '}';
    end_event(out);
  }

  const AnswerOptions options_;
  Block block_ = Block::kNone;  // the open one; its index is blocks_
  int blocks_ = 0;              // that are closed
  ChoiceEnd end_;
};

}  // namespace

std::unique_ptr<AnswerFormat> AnswerFormat::messages(const AnswerOptions& options) {
  return std::make_unique<MessagesAnswer>(options);
}

}  // namespace sluice
