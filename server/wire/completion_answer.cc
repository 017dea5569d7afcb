// Completions answers: https://platform.openai.com/docs/api-reference/completions/object; a streamed one has
// the same shape.
#include <cmath>
#include <map>

#include "server/net/sse.h"
#include "server/wire/answer_parts.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

// Characters (code points), which is what text_offset counts.
int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (char c : text) count += (static_cast<unsigned char>(c) & 0xc0U) != 0x80U ? 1 : 0;
  return count;
}

class CompletionAnswer final : public AnswerFormat {
 public:
  explicit CompletionAnswer(const AnswerOptions& options)
      : options_(options), prefix_(answer_prefix(options, "cmpl-", "text_completion")) {}

  void append_opening(std::string&, int, const Usage&) override {}

  void append_delta(std::string& out, const ChoiceDelta& delta, const Usage* usage,
                    const Timings* timings) override {
    out += kSseBegin;
    out += prefix_;
    append_choice(out, delta.index, delta.text, delta.logprobs, delta.end);
    append_token_ids(out, delta.token_ids, delta.prompt_token_ids);
    if (!delta.prompt_logprobs.empty()) append_prompt_logprobs(out, delta.prompt_logprobs);
    out += "}]";
    append_totals(out, usage, options_.include_usage, timings);
    out += '}';
    out += kSseEnd;
  }

  void append_ending(std::string& out, const Usage& usage, const Timings& timings) override {
    if (options_.include_usage) append_usage(out, usage, timings);
    out += kSseDone;
  }

  void append_usage(std::string& out, const Usage& usage, const Timings& timings) const {
    out += kSseBegin;
    out += prefix_;
    out += ']';
    append_totals(out, &usage, false, &timings);
    out += '}';
    out += kSseEnd;
  }

  std::string whole(std::span<const WholeChoice> choices, const Usage& usage,
                    const Timings& timings) override {
    std::string out = prefix_;
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) out += ',';
      append_choice(out, static_cast<int>(i), choices[i].text, choices[i].logprobs, &choices[i].end);
      append_token_ids(out, choices[i].token_ids, choices[i].prompt_token_ids);
      if (options_.prompt_logprobs) append_prompt_logprobs(out, choices[i].prompt_logprobs);
      out += '}';
    }
    out += ']';
    append_totals(out, &usage, false, &timings);
    out += '}';
    return out;
  }

 private:
  void append_choice(std::string& out, int index, std::string_view text,
                     std::span<const TokenLogprobs> logprobs, const ChoiceEnd* end) {
    out += R"({"index":)";
    append_json(out, int64_t{index});
    out += R"(,"text":)";
    append_json_string(out, text);
    out += R"(,"logprobs":)";
    if (options_.logprobs)
      append_logprobs(out, index, logprobs);
    else
      out += "null";
    out += ',';
    append_end(out, end);
  }

  void append_token_ids(std::string& out, std::span<const int32_t> ids,
                        std::span<const int32_t> prompt) const {
    if (!options_.token_ids) return;
    append_ids(out, "token_ids", ids);
    if (!prompt.empty()) append_ids(out, "prompt_token_ids", prompt);
  }

  void append_logprobs(std::string& out, int index, std::span<const TokenLogprobs> tokens) {
    out += R"({"tokens":[)";
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      append_json_string(out, tokens[i].chosen.bytes);
    }
    out += R"(],"token_logprobs":[)";
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      append_log_probability(out, tokens[i].chosen.logprob);
    }
    out += R"(],"top_logprobs":[)";
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      if (std::isnan(tokens[i].chosen.logprob)) {
        out += "null";
        continue;
      }
      out += '{';
      for (size_t j = 0; j < tokens[i].top.size(); ++j) {
        if (j > 0) out += ',';
        append_json_string(out, tokens[i].top[j].bytes);
        out += ':';
        append_log_probability(out, tokens[i].top[j].logprob);
      }
      out += '}';
    }
    out += R"(],"text_offset":[)";
    int64_t& offset = text_offset_[index];
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      append_json(out, offset);
      offset += count_characters(tokens[i].chosen.bytes);
    }
    out += "]}";
  }

  const AnswerOptions options_;
  const std::string prefix_;
  std::map<int, int64_t> text_offset_;  // of each choice, where its next token begins
};

}  // namespace

std::unique_ptr<AnswerFormat> AnswerFormat::completion(const AnswerOptions& options) {
  return std::make_unique<CompletionAnswer>(options);
}

}  // namespace sluice
