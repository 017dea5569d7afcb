#include "server/wire/responses_answer.h"

#include <fmt/format.h>

#include <ctime>

#include "server/wire/answer_parts.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

void append_usage(std::string& out, const Usage& usage) {
  out += fmt::format(
      R"({{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{},"cache_write_tokens":0}},)"
      R"("output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{}}})",
      usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, std::max(0, usage.reasoning_tokens),
      usage.prompt_tokens + usage.completion_tokens);
}

void append_token(std::string& out, const TokenText& token) {
  out += R"({"token":)";
  append_json_string(out, token.bytes);
  out += R"(,"logprob":)";
  append_log_probability(out, token.logprob);
  out += R"(,"bytes":[)";
  for (size_t i = 0; i < token.bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_json(out, int64_t{static_cast<unsigned char>(token.bytes[i])});
  }
  out += ']';
}

// Objects joined by commas.
void append_logprobs(std::string& out, std::span<const TokenLogprobs> tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    append_token(out, tokens[i].chosen);
    out += R"(,"top_logprobs":[)";
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) out += ',';
      append_token(out, tokens[i].top[j]);
      out += '}';
    }
    out += "]}";
  }
}

std::string_view status_of(const ChoiceEnd& end) {
  if (end.finish_reason == "length") return "incomplete";
  if (end.finish_reason == "abort") return "cancelled";
  return "completed";
}

// Reasoning, text and calls are items, in the order they come; one is open at a time. A whole answer goes the
// same way without its events.
class ResponsesAnswer final : public AnswerFormat {
 public:
  ResponsesAnswer(ResponseFace face, bool logprobs, KeepResponse keep)
      : face_(std::move(face)), logprobs_(logprobs), keep_(std::move(keep)) {}

  void append_opening(std::string& out, int, const Usage&) override {
    for (const std::string_view type : {"response.created", "response.in_progress"}) {
      begin_event(out, type);
      out += R"(,"response":)" + response_body(face_, {.status = "in_progress"});
      end_event(out);
    }
  }

  void append_delta(std::string& out, const ChoiceDelta& delta, const Usage*, const Timings*) override {
    if (!delta.reasoning.empty()) {
      enter(out, Item::kReasoning);
      text_ += delta.reasoning;
      append_text(out, "response.reasoning_text.delta", "delta", delta.reasoning);
      end_event(out);
    }
    if (!delta.text.empty()) {
      enter(out, Item::kMessage);
      text_ += delta.text;
      append_text(out, "response.output_text.delta", "delta", delta.text);
      std::string tokens;
      append_logprobs(tokens, delta.logprobs);
      if (!tokens.empty()) text_logprobs_ += (text_logprobs_.empty() ? "" : ",") + tokens;
      out += R"(,"logprobs":[)" + tokens + "]";
      end_event(out);
    }
    for (const ToolCallPiece& piece : delta.tool_calls) {
      if (!piece.id.empty()) {
        leave(out, "completed");
        call_id_ = piece.id;
        name_ = piece.name;
        enter(out, Item::kCall);
      }
      if (piece.arguments.empty()) continue;
      text_ += piece.arguments;
      append_text(out, "response.function_call_arguments.delta", "delta", piece.arguments);
      end_event(out);
    }
    if (delta.end != nullptr) end_ = *delta.end;
  }

  void append_ending(std::string& out, const Usage& usage, const Timings& timings) override {
    const std::string_view status = status_of(end_);
    if (item_ == Item::kNone && items_ == 0) enter(out, Item::kMessage);
    leave(out, status == "completed" ? status : "incomplete");
    std::string body = response_body(face_, {.status = status,
                                             .output = output_,
                                             .usage = &usage,
                                             .timings = &timings,
                                             .completed_s = std::time(nullptr)});
    begin_event(out, status == "completed" ? "response.completed" : "response.incomplete");
    out += R"(,"response":)" + body;
    end_event(out);
    tell(std::move(body), false);
  }

  void append_error(std::string& out, const Error& error) override {
    leave(out, "incomplete");
    std::string body = response_body(face_, {.status = "failed", .output = output_, .error = &error});
    begin_event(out, "response.failed");
    out += R"(,"response":)" + body;
    end_event(out);
    tell(std::move(body), true);
  }

  std::string whole(std::span<const WholeChoice> choices, const Usage& usage,
                    const Timings& timings) override {
    const WholeChoice& choice = choices.front();
    std::vector<ToolCallPiece> calls;
    for (const ToolCall& call : choice.tool_calls)
      calls.push_back({static_cast<int>(calls.size()), call.id, call.name, call.arguments});
    std::string events;
    append_delta(events,
                 {.text = choice.text,
                  .logprobs = choice.logprobs,
                  .end = &choice.end,
                  .reasoning = choice.reasoning,
                  .tool_calls = calls},
                 nullptr, nullptr);
    const std::string_view status = status_of(end_);
    if (item_ == Item::kNone && items_ == 0) enter(events, Item::kMessage);
    leave(events, status == "completed" ? status : "incomplete");
    std::string body = response_body(face_, {.status = status,
                                             .output = output_,
                                             .usage = &usage,
                                             .timings = &timings,
                                             .completed_s = std::time(nullptr)});
    tell(body, false);
    return body;
  }

 private:
  enum class Item : uint8_t { kNone, kReasoning, kMessage, kCall };

  void begin_event(std::string& out, std::string_view type) {
    out.append("event: ").append(type).append("\ndata: {\"type\":\"").append(type);
    out += R"(","sequence_number":)";
    append_json(out, int64_t{sequence_++});
  }
  static void end_event(std::string& out) { out += "}\n\n"; }

  // An event that belongs to the open item.
  void begin_item_event(std::string& out, std::string_view type) {
    begin_event(out, type);
    out.append(R"(,"item_id":")").append(item_id()).append(R"(","output_index":)");
    append_json(out, int64_t{items_});
    if (item_ != Item::kCall) out += R"(,"content_index":0)";
  }
  void append_text(std::string& out, std::string_view type, std::string_view member, std::string_view text) {
    begin_item_event(out, type);
    append_json_member(out, member, text);
  }

  std::string item_id() const {
    const char* prefix = item_ == Item::kReasoning ? "rs" : item_ == Item::kMessage ? "msg" : "fc";
    return fmt::format("{}_{}_{}", prefix, face_.id, items_);
  }

  std::string part(std::string_view text) const {
    std::string out = item_ == Item::kReasoning ? R"({"type":"reasoning_text","text":)"
                                                : R"({"type":"output_text","annotations":[],"text":)";
    append_json_string(out, text);
    if (item_ == Item::kMessage && logprobs_) out += R"(,"logprobs":[)" + text_logprobs_ + "]";
    return out + "}";
  }

  // The open item as an object, with what it has so far.
  std::string item(std::string_view status) const {
    const bool begun = status != "in_progress";
    std::string out = R"({"id":")" + item_id();
    if (item_ == Item::kReasoning) {
      out += R"(","type":"reasoning","summary":[],"content":[)" + (begun ? part(text_) : "") + "]";
    } else if (item_ == Item::kMessage) {
      out += R"(","type":"message","role":"assistant","content":[)" + (begun ? part(text_) : "") + "]";
    } else {
      out += R"(","type":"function_call","call_id":)";
      append_json_string(out, call_id_);
      out += R"(,"name":)";
      append_json_string(out, name_);
      out += R"(,"arguments":)";
      append_json_string(out, text_);
    }
    out.append(R"(,"status":")").append(status);
    return out + "\"}";
  }

  void enter(std::string& out, Item next) {
    if (item_ == next && next != Item::kCall) return;
    leave(out, "completed");
    item_ = next;
    text_.clear();
    text_logprobs_.clear();
    begin_event(out, "response.output_item.added");
    append_place(out);
    out += R"(,"item":)" + item("in_progress");
    end_event(out);
    if (item_ == Item::kCall) return;
    begin_item_event(out, "response.content_part.added");
    out += R"(,"part":)" + part("");
    end_event(out);
  }

  void leave(std::string& out, std::string_view status) {
    if (item_ == Item::kNone) return;
    if (item_ == Item::kCall) {
      append_text(out, "response.function_call_arguments.done", "arguments", text_);
      out += R"(,"name":)";
      append_json_string(out, name_);
      end_event(out);
    } else {
      append_text(out, item_ == Item::kMessage ? "response.output_text.done" : "response.reasoning_text.done",
                  "text", text_);
      if (item_ == Item::kMessage) out += R"(,"logprobs":[)" + text_logprobs_ + "]";
      end_event(out);
      begin_item_event(out, "response.content_part.done");
      out += R"(,"part":)" + part(text_);
      end_event(out);
    }
    const std::string done = item(status);
    begin_event(out, "response.output_item.done");
    append_place(out);
    out += R"(,"item":)" + done;
    end_event(out);
    output_ += (output_.empty() ? "" : ",") + done;
    ++items_;
    item_ = Item::kNone;
  }
  void append_place(std::string& out) const {
    out += R"(,"output_index":)";
    append_json(out, int64_t{items_});
  }

  void tell(std::string body, bool failed) {
    if (keep_) keep_({std::move(body), output_, failed});
  }

  const ResponseFace face_;
  const bool logprobs_;
  const KeepResponse keep_;
  int sequence_ = 0;
  Item item_ = Item::kNone;                            // the open one; its index is items_
  int items_ = 0;                                      // that are closed
  std::string text_, text_logprobs_, call_id_, name_;  // of the open item
  std::string output_;
  ChoiceEnd end_{"stop"};
};

}  // namespace

std::string response_body(const ResponseFace& face, const ResponseState& state) {
  std::string out = R"({"id":"resp_)" + face.id + R"(","object":"response","created_at":)";
  append_json(out, face.created_s);
  out.append(R"(,"status":")").append(state.status).append(R"(","completed_at":)");
  out += state.completed_s > 0 ? std::to_string(state.completed_s) : "null";
  out += R"(,"error":)";
  if (state.error != nullptr) {
    out += R"({"code":"server_error","message":)";
    append_json_string(out, state.error->message);
    out += '}';
  } else {
    out += "null";
  }
  out += R"(,"incomplete_details":)";
  out += state.status == "incomplete" ? R"({"reason":"max_output_tokens"})" : "null";
  out += R"(,"model":)";
  append_json_string(out, face.model);
  out.append(R"(,"output":[)").append(state.output).append("]");
  out += face.echo;
  out += R"(,"usage":)";
  if (state.usage != nullptr)
    append_usage(out, *state.usage);
  else
    out += "null";
  if (state.timings != nullptr) {
    out += R"(,"timings":)";
    append_timings_object(out, *state.timings);
  }
  return out + "}";
}

std::string response_deletion_body(std::string_view id) {
  return fmt::format(R"({{"id":"resp_{}","object":"response","deleted":true}})", id);
}

std::string item_list_body(std::string_view items, std::string_view first_id, std::string_view last_id,
                           bool has_more) {
  std::string out = R"({"object":"list","data":[)";
  out.append(items).append(R"(],"first_id":)");
  append_json_string(out, first_id);
  out += R"(,"last_id":)";
  append_json_string(out, last_id);
  out += has_more ? R"(,"has_more":true})" : R"(,"has_more":false})";
  return out;
}

std::string input_tokens_body(size_t tokens) {
  return fmt::format(R"({{"object":"response.input_tokens","input_tokens":{}}})", tokens);
}

std::unique_ptr<AnswerFormat> responses_answer(ResponseFace face, bool logprobs, KeepResponse keep) {
  return std::make_unique<ResponsesAnswer>(std::move(face), logprobs, std::move(keep));
}

}  // namespace sluice
