#include "server/wire/chat_request.h"

#include <gtest/gtest.h>

#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

using testing::chat;

const std::string kHello = R"("messages":[{"role":"user","content":"Hello"}])";

std::string with(const std::string& more) {
  return "{" + kHello + "," + more + "}";
}

TEST(ChatRequest, reads_every_field) {
  const auto request =
      chat(with(R"("model":"m","max_tokens":7,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"n":3,
    "seed":-5,"stop":["a","b"],"stop_token_ids":[1,999],"ignore_eos":true,"min_tokens":2,
    "repetition_penalty":1.1,
    "presence_penalty":-2,"frequency_penalty":2,"logprobs":true,"top_logprobs":4,"logit_bias":{"5":200,
    "6":-1.5},
    "stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},
    "include_stop_str_in_output":true,
    "skip_special_tokens":false,"cache_salt":"s","priority":-3,"user":"u","metadata":{},"echo":true)"));
  ASSERT_TRUE(request.ok()) << request.error().message;
  const GenerationFields& f = request->fields;
  EXPECT_EQ(f.model, "m");
  EXPECT_EQ(f.max_tokens, 7);
  EXPECT_EQ(f.temperature, 0.5F);
  EXPECT_EQ(f.top_p, 0.9F);
  EXPECT_EQ(f.top_k, 40);
  EXPECT_EQ(f.min_p, 0.1F);
  EXPECT_EQ(f.n, 3);
  EXPECT_EQ(f.seed, static_cast<uint64_t>(-5));
  EXPECT_EQ(f.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(f.stop_token_ids, (std::vector<int32_t>{1, 999}));
  EXPECT_TRUE(f.ignore_eos);
  EXPECT_EQ(f.min_tokens, 2);
  EXPECT_EQ(f.repetition_penalty, 1.1F);
  EXPECT_EQ(f.presence_penalty, -2.0F);
  EXPECT_EQ(f.frequency_penalty, 2.0F);
  EXPECT_EQ(f.logprobs, 4);
  EXPECT_EQ(f.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, 100.0F}, {6, -1.5F}}));
  EXPECT_TRUE(f.stream && f.include_usage && f.continuous_usage);
  EXPECT_TRUE(f.include_stop_in_output);
  EXPECT_FALSE(f.skip_special_tokens);
  EXPECT_EQ(f.cache_salt, "s");
  EXPECT_EQ(f.priority, -3);
  EXPECT_TRUE(f.echo);
  EXPECT_TRUE(request->ignored.empty());
}

TEST(ChatRequest, takes_absent_and_null_alike) {
  const auto request =
      chat(with(R"("temperature":null,"max_tokens":null,"stop":null,"seed":null,"logprobs":null,"n":null,
    "stream":null,"stream_options":null,"tools":null,"tool_choice":null,"response_format":null,
    "logit_bias":null)"));
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_FALSE(request->fields.temperature.has_value());
  EXPECT_FALSE(request->fields.max_tokens.has_value());
  EXPECT_EQ(request->fields.n, 1);
  EXPECT_EQ(request->fields.logprobs, -1);
}

TEST(ChatRequest, prefers_max_completion_tokens) {
  EXPECT_EQ(chat(with(R"("max_tokens":5,"max_completion_tokens":9)"))->fields.max_tokens, 9);
}

TEST(ChatRequest, names_the_field_that_is_wrong) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"temperature", "-0.1"},
      {"temperature", "\"hot\""},
      {"temperature", "1e30"},
      {"temperature", "true"},
      {"top_p", "0"},
      {"top_p", "1.1"},
      {"top_k", "-2"},
      {"top_k", "1.5"},
      {"min_p", "2"},
      {"n", "0"},
      {"n", "129"},
      {"n", "1000000000000"},
      {"seed", "1.5"},
      {"seed", "\"x\""},
      {"seed", "1e30"},
      {"stop", "5"},
      {"stop", "[\"\"]"},
      {"stop", "[1]"},
      {"stop", "\"\""},
      {"stop_token_ids", "[-1]"},
      {"stop_token_ids", "[1000]"},
      {"stop_token_ids", "[1.5]"},
      {"stop_token_ids", "[\"a\"]"},
      {"stop_token_ids", "7"},
      {"ignore_eos", "1"},
      {"min_tokens", "-1"},
      {"repetition_penalty", "0"},
      {"presence_penalty", "2.1"},
      {"frequency_penalty", "-2.1"},
      {"logprobs", "3"},
      {"top_logprobs", "2"},
      {"logit_bias", "[1]"},
      {"logit_bias", "{\"1000\":1}"},
      {"logit_bias", "{\"-1\":1}"},
      {"logit_bias", "{\"1x\":1}"},
      {"logit_bias", "{\"1\":\"a\"}"},
      {"stream", "\"yes\""},
      {"stream_options", "{\"include_usage\":true}"},
      {"max_tokens", "0"},
      {"max_tokens", "-1"},
      {"max_completion_tokens", "0"},
      {"max_tokens", "99999999999"},
      {"model", "5"},
      {"priority", "\"high\""},
      {"cache_salt", "1"},
      {"response_format", "{\"type\":\"yaml\"}"},
      {"tool_choice", "\"required\""},
      {"tools", "[5]"},
      {"tools", "[{\"type\":\"function\"}]"},
      {"use_beam_search", "true"},
      {"chat_template", "\"{{ messages }}\""},
      {"prompt_logprobs", "99"},
      {"continue_final_message", "3"},
      {"chat_template_kwargs", "{\"messages\":[]}"},
      {"guided_json", "5"},
  };
  for (const auto& [field, value] : wrong) {
    const auto request = chat(with("\"" + field + "\":" + value));
    ASSERT_FALSE(request.ok()) << field << " " << value;
    EXPECT_EQ(request.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(request.error().param, field) << value;
    EXPECT_NE(request.error().message.find(field), std::string::npos) << request.error().message;
  }
}

TEST(ChatRequest, bounds_every_list) {
  const auto repeated = [](const std::string& item, int count) {
    std::string list = "[" + item;
    for (int i = 1; i < count; ++i) list += "," + item;
    return list + "]";
  };
  EXPECT_EQ(chat(with("\"stop\":" + repeated("\"x\"", 17))).error().param, "stop");
  EXPECT_EQ(chat(with("\"stop\":\"" + std::string(1025, 'x') + "\"")).error().param, "stop");
  EXPECT_EQ(chat(with("\"stop_token_ids\":" + repeated("1", 257))).error().param, "stop_token_ids");
  EXPECT_EQ(chat("{\"messages\":" + repeated(R"({"role":"user","content":""})", 16385) + "}").error().param,
            "messages");
  std::string many = "{" + kHello;
  for (int i = 0; i < 300; ++i) many += ",\"f" + std::to_string(i) + "\":1";
  EXPECT_FALSE(chat(many + "}").ok());
}

TEST(ChatRequest, tells_what_is_wrong_with_messages) {
  for (const char* messages :
       {"null", "\"hello\"", "[]", "{}", "[5]", "[{}]", R"([{"role":"user"}])", R"([{"content":"x"}])",
        R"([{"role":"king","content":"x"}])", R"([{"role":"user","content":5}])",
        R"([{"role":"user","content":[{"type":"dance"}]}])", R"([{"role":"user","content":[5]}])",
        R"([{"role":"user","content":[{"type":"text"}]}])", R"([{"role":7,"content":"x"}])",
        R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}])",
        R"([{"role":"assistant","tool_calls":[5]}])", R"([{"role":"assistant","tool_calls":[{}]}])"}) {
    const auto request = chat(std::string("{\"messages\":") + messages + "}");
    ASSERT_FALSE(request.ok()) << messages;
    EXPECT_TRUE(request.error().param.starts_with("messages")) << request.error().param;
  }
  const auto image =
      chat(R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},
    {"type":"image_url","image_url":{"url":"http://x"}}]}]})");
  EXPECT_NE(image.error().message.find("messages[1].content[1]"), std::string::npos) << image.error().message;
  EXPECT_NE(image.error().message.find("image"), std::string::npos);
}

TEST(ChatRequest, prepares_messages_for_the_template) {
  const auto request = chat(R"({"messages":[
      {"role":"developer","content":[{"type":"text","text":"Be"},{"type":"text","text":"brief"}]},
      {"role":"user","content":"Hi \"you\"","name":"bob"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
    "function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}]},
      {"role":"tool","tool_call_id":"c1","content":"42"}],
    "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}],
    "chat_template_kwargs":{"enable_thinking":false}})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->template_variables,
            R"({"messages":[{"role":"system","content":"Be\nbrief"},{"role":"user","content":"Hi \"you\"",)"
            R"("name":"bob"},)"
            R"({"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function",)"
            R"("function":{"name":"f","arguments":{"b":1,"a":2}}}]},)"
            R"({"role":"tool","content":"42","tool_call_id":"c1"}],)"
            R"("tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}],)"
            R"("enable_thinking":false,)"
            R"("add_generation_prompt":true,"continue_final_message":false})");
}

TEST(ChatRequest, leaves_developer_to_a_template_that_knows_it) {
  ChatDialect dialect;
  dialect.template_knows_developer = true;
  const auto request = parse_chat_request(R"({"messages":[{"role":"developer","content":"x"}]})",
                                          testing::small_limits(), dialect);
  EXPECT_NE(request->template_variables.find("\"developer\""), std::string::npos);
}

TEST(ChatRequest, hides_tools_when_the_choice_is_none) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}],)";
  EXPECT_EQ(chat(with(tools + R"("tool_choice":"none")"))->template_variables.find("tools"),
            std::string::npos);
  EXPECT_NE(chat(with(tools + R"("tool_choice":"auto")"))->template_variables.find("tools"),
            std::string::npos);
}

TEST(ChatRequest, continues_the_final_message_instead_of_opening_a_new_one) {
  const auto request =
      chat(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"Once"}],
    "continue_final_message":true})");
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->final_message, "Once");
  EXPECT_NE(
      request->template_variables.find(R"("add_generation_prompt":false,"continue_final_message":true)"),
      std::string::npos);
  EXPECT_FALSE(chat(with(R"("continue_final_message":true,"add_generation_prompt":true)")).ok());
}

TEST(ChatRequest, refuses_text_that_cannot_fit_before_anybody_encodes_it) {
  const auto request = chat(R"({"messages":[{"role":"user","content":")" + std::string(65537, 'x') + "\"}]}");
  ASSERT_FALSE(request.ok());
  EXPECT_EQ(request.error().code, ErrorCode::kContextLength);
  EXPECT_NE(request.error().message.find("256"), std::string::npos);
}

TEST(ChatRequest, reports_fields_that_nobody_reads) {
  EXPECT_EQ(chat(with(R"("x_mine":1,"user":"me")"))->ignored, std::vector<std::string>{"x_mine"});
}

TEST(ChatRequest, lets_the_last_of_equal_names_count) {
  EXPECT_EQ(chat(with(R"("max_tokens":1,"max_tokens":2)"))->fields.max_tokens, 2);
}

}  // namespace
}  // namespace sluice
