// The bytes on the wire, as they are.
#include "server/wire/answer_format.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

AnswerOptions options() {
  AnswerOptions options;
  options.request_id = "r1";
  options.model = "m";
  options.created_s = 1700000000;
  options.fingerprint = "f";
  return options;
}

const ChoiceEnd kStop{"stop", std::nullopt, std::nullopt};
const ChoiceEnd kStopString{"stop", std::nullopt, "\n\n"};
const ChoiceEnd kStopToken{"stop", 42, std::nullopt};
const Usage kUsage{10, 3, 8};
const Timings kTimings{1.5, 20, 0.25};

TEST(ChatAnswer, streams_role_text_and_end) {
  auto format = AnswerFormat::chat(options());
  std::string out;
  format->append_opening(out, 0, {});
  format->append_delta(out, {0, "Hi\n\"you\"", {}, nullptr}, nullptr, nullptr);
  format->append_delta(out, {1, "", {}, &kStopString}, nullptr, nullptr);
  format->append_ending(out, kUsage, kTimings);
  const std::string head =
      R"(data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"m",)"
      R"("system_fingerprint":"f","choices":[)";
  EXPECT_EQ(
      out,
      head +
          R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})"
          "\n\n" +
          head +
          R"({"index":0,"delta":{"content":"Hi\n\"you\""},"logprobs":null,"finish_reason":null}]})"
          "\n\n" +
          head +
          R"({"index":1,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":"\n\n"}]})"
          "\n\ndata: [DONE]\n\n");
}

TEST(ChatAnswer, tells_usage_in_every_chunk_or_null) {
  AnswerOptions with_null = options();
  with_null.include_usage = true;
  auto format = AnswerFormat::chat(with_null);
  std::string out;
  format->append_delta(out, {0, "a", {}, nullptr}, nullptr, nullptr);
  EXPECT_NE(out.find(R"(,"usage":null})"), std::string::npos);
  out.clear();
  format->append_delta(out, {0, "a", {}, nullptr}, &kUsage, nullptr);
  EXPECT_NE(out.find(R"("usage":{"prompt_tokens":10)"), std::string::npos);
  out.clear();
  format->append_ending(out, kUsage, kTimings);
  EXPECT_EQ(out,
            R"(data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"m",)"
            R"("system_fingerprint":"f","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,)"
            R"("total_tokens":13,"prompt_tokens_details":{"cached_tokens":8}},)"
            R"("timings":{"queue_ms":1.5,"prefill_ms":20,"decode_ms":0.25}})"
            "\n\ndata: [DONE]\n\n");
}

TEST(ChatAnswer, writes_a_whole_answer) {
  AnswerOptions with_logprobs = options();
  with_logprobs.logprobs = true;
  auto format = AnswerFormat::chat(with_logprobs);
  const std::vector<WholeChoice> choices = {
      {"é", {{{"\xc3", -0.5}, {{"\xc3", -0.5}, {"x", -1e30}}}}, kStopToken},
  };
  EXPECT_EQ(
      format->whole(choices, kUsage, kTimings),
      R"({"id":"chatcmpl-r1","object":"chat.completion","created":1700000000,"model":"m",)"
      R"("system_fingerprint":"f","choices":[)"
      R"({"index":0,"message":{"role":"assistant","content":"é","refusal":null},"logprobs":{"content":[)"
      "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.5,\"bytes\":[195],\"top_logprobs\":["
      "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.5,\"bytes\":[195]},"
      R"({"token":"x","logprob":-9999,"bytes":[120]}]}]},"finish_reason":"stop","stop_reason":42}],)"
      R"("usage":{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13,)"
      R"("prompt_tokens_details":{"cached_tokens":8}},)"
      R"("timings":{"queue_ms":1.5,"prefill_ms":20,"decode_ms":0.25}})");
}

TEST(ChatAnswer, streams_reasoning_and_tool_calls) {
  auto format = AnswerFormat::chat(options());
  std::string out;
  const auto delta_of = [&](const ChoiceDelta& delta) {
    out.clear();
    format->append_delta(out, delta, nullptr, nullptr);
    const size_t at = out.find("\"delta\":") + 8;
    return out.substr(at, out.find(",\"logprobs\"") - at);
  };
  EXPECT_EQ(delta_of({.reasoning = "hm"}), R"({"reasoning":"hm","reasoning_content":"hm"})");
  EXPECT_EQ(delta_of({.text = "so", .reasoning = "hm"}),
            R"({"reasoning":"hm","reasoning_content":"hm","content":"so"})");
  const std::vector<ToolCallPiece> first = {{0, "call_1", "f", ""}};
  EXPECT_EQ(delta_of({.tool_calls = first}),
            R"({"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f",)"
            R"("arguments":""}}]})");
  const std::vector<ToolCallPiece> more = {{0, "", "", "{\"a\""}};
  EXPECT_EQ(delta_of({.tool_calls = more}),
            R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]})");
}

// Instructor, for one, reads the first piece of a chunk alone.
TEST(ChatAnswer, streams_one_piece_of_a_call_in_each_chunk) {
  auto format = AnswerFormat::chat(options());
  const std::vector<ToolCallPiece> pieces = {
      {0, "call_1", "f", ""}, {0, "", "", "{}"}, {1, "call_2", "g", ""}};
  const ChoiceEnd end = {"tool_calls"};
  std::string out;
  format->append_delta(out, {.text = "so", .end = &end, .tool_calls = pieces}, nullptr, &kTimings);
  std::vector<std::string> deltas, rests;
  for (size_t at = 0; (at = out.find("\"delta\":", at)) != std::string::npos;) {
    at += 8;
    const size_t logprobs = out.find(",\"logprobs\"", at), stop = out.find("\n\n", at);
    deltas.push_back(out.substr(at, logprobs - at));
    rests.push_back(out.substr(logprobs, stop - logprobs));
  }
  EXPECT_EQ(deltas, (std::vector<std::string>{
                        R"({"content":"so","tool_calls":[{"index":0,"id":"call_1","type":"function",)"
                        R"("function":{"name":"f","arguments":""}}]})",
                        R"({"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]})",
                        R"({"tool_calls":[{"index":1,"id":"call_2","type":"function",)"
                        R"("function":{"name":"g","arguments":""}}]})",
                    }));
  // What ends the choice comes with the last of them alone.
  EXPECT_EQ(rests[0], R"(,"logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(rests[1], rests[0]);
  EXPECT_NE(rests[2].find(R"("finish_reason":"tool_calls")"), std::string::npos);
  EXPECT_NE(rests[2].find(R"("timings":)"), std::string::npos);
}

TEST(ChatAnswer, writes_calls_and_reasoning_whole) {
  auto format = AnswerFormat::chat(options());
  std::vector<WholeChoice> choices(1);
  choices[0].end = {"tool_calls"};
  choices[0].reasoning = "hm";
  choices[0].tool_calls = {{"call_1", "f", "{}"}, {"call_2", "g", "{\"a\":1}"}};
  Usage usage = kUsage;
  usage.reasoning_tokens = 2;
  const std::string body = format->whole(choices, usage, kTimings);
  EXPECT_NE(
      body.find(
          R"("message":{"role":"assistant","content":null,"refusal":null,"reasoning":"hm",)"
          R"("reasoning_content":"hm","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f",)"
          R"("arguments":"{}"}},{"id":"call_2","type":"function","function":{"name":"g",)"
          R"("arguments":"{\"a\":1}"}}]})"),
      std::string::npos)
      << body;
  EXPECT_NE(body.find(R"("completion_tokens_details":{"reasoning_tokens":2}})"), std::string::npos) << body;
}

TEST(CompletionAnswer, streams_text_with_running_offsets) {
  AnswerOptions with_logprobs = options();
  with_logprobs.logprobs = true;
  auto format = AnswerFormat::completion(with_logprobs);
  std::string out;
  format->append_opening(out, 0, {});
  EXPECT_EQ(out, "");
  const std::vector<TokenLogprobs> one = {{{"né", -1}, {{"né", -1}}}};
  format->append_delta(out, {0, "né", one, nullptr}, nullptr, nullptr);
  format->append_delta(out, {0, "né", one, &kStop}, nullptr, &kTimings);
  const std::string head =
      R"(data: {"id":"cmpl-r1","object":"text_completion","created":1700000000,"model":"m",)"
      R"("system_fingerprint":"f","choices":[{"index":0,"text":"né","logprobs":)"
      R"({"tokens":["né"],"token_logprobs":[-1],"top_logprobs":[{"né":-1}],"text_offset":)";
  EXPECT_EQ(
      out,
      head +
          R"([0]},"finish_reason":null}]})"
          "\n\n" +
          head +
          R"([2]},"finish_reason":"stop","stop_reason":null}],"timings":{"queue_ms":1.5,"prefill_ms":20,)"
          R"("decode_ms":0.25}})"
          "\n\n");
}

}  // namespace
}  // namespace sluice
