#include "bench/serve/answer_reader.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::bench {
namespace {

using Event = AnswerReader::Event;

TEST(AnswerReader, chat_counts_what_was_generated) {
  AnswerReader reader(Endpoint::kChat, true);
  const auto read = [&](std::string_view data) { return reader.read_event("", data); };
  EXPECT_EQ(read(R"({"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]})"), Event::kNothing);
  EXPECT_EQ(read(R"({"choices":[{"delta":{"content":"a\n"}}]})"), Event::kText);
  EXPECT_EQ(read(R"({"choices":[{"delta":{"reasoning":"hm"}}]})"), Event::kText);
  EXPECT_EQ(read(R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})"), Event::kText);
  EXPECT_EQ(read(R"({"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}],"usage":null})"),
            Event::kText);
  EXPECT_EQ(
      read(R"({"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":4,"total_tokens":15,)"
           R"("prompt_tokens_details":{"cached_tokens":8}},"timings":{"queue_ms":1.5,"prefill_ms":2}})"),
      Event::kNothing);
  EXPECT_EQ(read("[DONE]"), Event::kNothing);
  const Told& told = reader.told();
  EXPECT_TRUE(told.finished);
  EXPECT_EQ(told.text, "a\nb");
  EXPECT_EQ(told.input_tokens, 11u);
  EXPECT_EQ(told.output_tokens, 4u);
  EXPECT_EQ(told.cached_tokens, 8u);
  EXPECT_EQ(told.queue_ms, 1.5);
}

TEST(AnswerReader, completions_have_text) {
  AnswerReader reader(Endpoint::kCompletions, false);
  EXPECT_EQ(reader.read_event("", R"({"choices":[{"text":" kobe","finish_reason":null}]})"), Event::kText);
  EXPECT_EQ(reader.read_event("", R"({"choices":[{"text":"","finish_reason":"length"}]})"), Event::kNothing);
  EXPECT_TRUE(reader.told().finished);
  EXPECT_EQ(reader.told().text, "");
}

TEST(AnswerReader, responses_are_named_events) {
  AnswerReader reader(Endpoint::kResponses, true);
  EXPECT_EQ(reader.read_event("response.created", R"({"type":"response.created","response":{"id":"r"}})"),
            Event::kNothing);
  EXPECT_EQ(reader.read_event("", R"({"type":"response.output_text.delta","delta":"Hi"})"), Event::kText);
  EXPECT_EQ(reader.read_event("", R"({"type":"response.completed","response":{"usage":{"input_tokens":3,)"
                                  R"("output_tokens":1,"input_tokens_details":{"cached_tokens":2}}}})"),
            Event::kNothing);
  EXPECT_TRUE(reader.told().finished);
  EXPECT_EQ(reader.told().text, "Hi");
  EXPECT_EQ(reader.told().input_tokens, 3u);
  EXPECT_EQ(reader.told().cached_tokens, 2u);
}

TEST(AnswerReader, an_error_within_a_stream_is_told) {
  AnswerReader reader(Endpoint::kChat, false);
  reader.read_event("", R"({"choices":[{"delta":{"content":"a"}}]})");
  EXPECT_EQ(reader.read_event("", R"({"error":{"message":"out of \u001b[2J blocks","code":500}})"),
            Event::kNothing);
  EXPECT_EQ(reader.told().error.find('\x1b'), std::string::npos);
  EXPECT_NE(reader.told().error.find("out of"), std::string::npos);
  AnswerReader responses(Endpoint::kResponses, false);
  responses.read_event("", R"({"type":"response.failed","response":{"error":{"message":"no"}}})");
  EXPECT_EQ(responses.told().error, "no");
}

TEST(AnswerReader, what_the_api_does_not_send_is_malformed) {
  for (const char* data : {"{", "17", "[]", "{\"choices\":[}", "null", "{}", "{\"hello\":1}", "<html>"}) {
    AnswerReader reader(Endpoint::kChat, false);
    EXPECT_EQ(reader.read_event("", data), Event::kMalformed) << data;
  }
  AnswerReader reader(Endpoint::kChat, false);
  EXPECT_EQ(reader.read_event("", ""), Event::kNothing);  // a heartbeat
  EXPECT_EQ(reader.read_event("", R"({"choices":[],"usage":{"prompt_tokens":-4,"completion_tokens":1e99}})"),
            Event::kNothing);
  EXPECT_FALSE(reader.told().input_tokens);
  EXPECT_FALSE(reader.told().output_tokens);
}

TEST(AnswerReader, whole_bodies) {
  AnswerReader chat(Endpoint::kChat, true);
  EXPECT_EQ(chat.read_body(R"({"choices":[{"message":{"content":"Hi"}}],"usage":{"completion_tokens":2}})"),
            Event::kText);
  EXPECT_TRUE(chat.told().finished);
  EXPECT_EQ(chat.told().text, "Hi");
  AnswerReader vectors(Endpoint::kEmbeddings, false);
  EXPECT_EQ(vectors.read_body(R"({"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":5}})"),
            Event::kNothing);
  EXPECT_EQ(vectors.told().input_tokens, 5u);
  AnswerReader broken(Endpoint::kChat, false);
  EXPECT_EQ(broken.read_body(R"({"choices":[{"message":)"), Event::kMalformed);
  EXPECT_FALSE(broken.told().finished);
}

}  // namespace
}  // namespace sluice::bench
