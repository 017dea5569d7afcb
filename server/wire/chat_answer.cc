// Chat completions answers: https://platform.openai.com/docs/api-reference/chat/object and …/chat-streaming.
#include "server/net/sse.h"
#include "server/wire/answer_parts.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

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

void append_logprobs(std::string& out, std::span<const TokenLogprobs> tokens) {
  out += R"({"content":[)";
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
  out += "]}";
}

// Under both names that clients read.
void append_reasoning(std::string& out, std::string_view text) {
  out += R"("reasoning":)";
  append_json_string(out, text);
  out += R"(,"reasoning_content":)";
  append_json_string(out, text);
}

void append_call(std::string& out, std::string_view id, std::string_view name, std::string_view arguments) {
  if (!id.empty()) {
    out += R"("id":)";
    append_json_string(out, id);
    out += R"(,"type":"function",)";
  }
  out += R"("function":{)";
  if (!name.empty()) {
    out += R"("name":)";
    append_json_string(out, name);
    out += ',';
  }
  out += R"("arguments":)";
  append_json_string(out, arguments);
  out += '}';
}

void append_pieces(std::string& out, std::span<const ToolCallPiece> pieces) {
  out += R"("tool_calls":[)";
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) out += ',';
    out += R"({"index":)";
    append_json(out, int64_t{pieces[i].index});
    out += ',';
    append_call(out, pieces[i].id, pieces[i].name, pieces[i].arguments);
    out += '}';
  }
  out += ']';
}

void append_message(std::string& out, const WholeChoice& choice) {
  out += R"({"role":"assistant","content":)";
  if (choice.text.empty() && !choice.tool_calls.empty())
    out += "null";
  else
    append_json_string(out, choice.text);
  out += R"(,"refusal":null)";
  if (!choice.reasoning.empty()) {
    out += ',';
    append_reasoning(out, choice.reasoning);
  }
  for (size_t i = 0; i < choice.tool_calls.size(); ++i) {
    const ToolCall& call = choice.tool_calls[i];
    out += i == 0 ? R"(,"tool_calls":[{)" : ",{";
    append_call(out, call.id, call.name, call.arguments);
    out += '}';
  }
  out += choice.tool_calls.empty() ? "}" : "]}";
}

class ChatAnswer final : public AnswerFormat {
 public:
  explicit ChatAnswer(const AnswerOptions& options)
      : options_(options),
        chunk_prefix_(std::string(kSseBegin) + answer_prefix(options, "chatcmpl-", "chat.completion.chunk")) {
  }

  void append_opening(std::string& out, int index, const Usage&) override {
    begin_choice(out, index);
    out += R"({"role":"assistant","content":""})";
    end_choice(out, nullptr, {});
    append_totals(out, nullptr, options_.include_usage, nullptr);
    end_chunk(out);
  }

  // One piece of a call in each chunk: there are clients that read no further than the first.
  void append_delta(std::string& out, const ChoiceDelta& delta, const Usage* usage,
                    const Timings* timings) override {
    ChoiceDelta rest = delta;
    while (rest.tool_calls.size() > 1) {
      append_chunk(out,
                   {.index = rest.index,
                    .text = rest.text,
                    .reasoning = rest.reasoning,
                    .tool_calls = rest.tool_calls.first(1)},
                   usage, nullptr);
      rest.text = rest.reasoning = {};
      rest.tool_calls = rest.tool_calls.subspan(1);
    }
    append_chunk(out, rest, usage, timings);
  }

  void append_ending(std::string& out, const Usage& usage, const Timings& timings) override {
    if (options_.include_usage) append_usage(out, usage, timings);
    out += kSseDone;
  }

  void append_usage(std::string& out, const Usage& usage, const Timings& timings) const {
    out += chunk_prefix_;
    out += ']';
    append_totals(out, &usage, false, &timings);
    end_chunk(out);
  }

  std::string whole(std::span<const WholeChoice> choices, const Usage& usage,
                    const Timings& timings) override {
    std::string out = answer_prefix(options_, "chatcmpl-", "chat.completion");
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) out += ',';
      out += R"({"index":)";
      append_json(out, static_cast<int64_t>(i));
      out += R"(,"message":)";
      append_message(out, choices[i]);
      out += R"(,"logprobs":)";
      if (options_.logprobs)
        append_logprobs(out, choices[i].logprobs);
      else
        out += "null";
      out += ',';
      append_end(out, &choices[i].end);
      if (options_.token_ids) append_ids(out, "token_ids", choices[i].token_ids);
      out += '}';
    }
    out += ']';
    if (options_.token_ids) append_ids(out, "prompt_token_ids", choices.front().prompt_token_ids);
    if (options_.prompt_logprobs) append_prompt_logprobs(out, choices.front().prompt_logprobs);
    append_totals(out, &usage, false, &timings);
    out += '}';
    return out;
  }

 private:
  void append_chunk(std::string& out, const ChoiceDelta& delta, const Usage* usage,
                    const Timings* timings) const {
    begin_choice(out, delta.index);
    append_new(out, delta);
    end_choice(out, delta.end, delta.logprobs, delta.token_ids);
    if (!delta.prompt_token_ids.empty()) append_ids(out, "prompt_token_ids", delta.prompt_token_ids);
    if (!delta.prompt_logprobs.empty()) append_prompt_logprobs(out, delta.prompt_logprobs);
    append_totals(out, usage, options_.include_usage, timings);
    end_chunk(out);
  }
  static void append_new(std::string& out, const ChoiceDelta& delta) {
    const bool other = !delta.reasoning.empty() || !delta.tool_calls.empty();
    const char* comma = "";
    out += '{';
    if (!delta.reasoning.empty()) {
      append_reasoning(out, delta.reasoning);
      comma = ",";
    }
    if (!delta.text.empty() || (!other && delta.end == nullptr)) {
      out += comma;
      out += R"("content":)";
      append_json_string(out, delta.text);
      comma = ",";
    }
    if (!delta.tool_calls.empty()) {
      out += comma;
      append_pieces(out, delta.tool_calls);
    }
    out += '}';
  }
  void begin_choice(std::string& out, int index) const {
    out += chunk_prefix_;
    out += R"({"index":)";
    append_json(out, int64_t{index});
    out += R"(,"delta":)";
  }
  void end_choice(std::string& out, const ChoiceEnd* end, std::span<const TokenLogprobs> logprobs,
                  std::span<const int32_t> token_ids = {}) const {
    out += R"(,"logprobs":)";
    if (!logprobs.empty())
      append_logprobs(out, logprobs);
    else
      out += "null";
    out += ',';
    append_end(out, end);
    if (!token_ids.empty()) append_ids(out, "token_ids", token_ids);
    out += "}]";
  }
  static void end_chunk(std::string& out) {
    out += '}';
    out += kSseEnd;
  }

  const AnswerOptions options_;
  const std::string chunk_prefix_;
};

}  // namespace

std::unique_ptr<AnswerFormat> AnswerFormat::chat(const AnswerOptions& options) {
  return std::make_unique<ChatAnswer>(options);
}

}  // namespace sluice
