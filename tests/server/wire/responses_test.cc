// The Responses API: what a request means as a chat, and the events of an answer.
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>

#include "server/wire/responses_answer.h"
#include "server/wire/responses_request.h"
#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Memory final : public ResponseMemory {
 public:
  Result<std::shared_ptr<const ResponseTurn>> turn(const std::string& id) const override {
    const auto found = turns.find(id);
    if (found == turns.end()) return Error{ErrorCode::kNotFound, "gone", "previous_response_id"};
    return found->second;
  }
  std::optional<std::string> item(const std::string& id) const override {
    const auto found = items.find(id);
    return found == items.end() ? std::nullopt : std::optional(found->second);
  }
  std::map<std::string, std::shared_ptr<const ResponseTurn>> turns;
  std::map<std::string, std::string> items;
};

Result<ResponsesRequest> read(const json& body, const Memory& memory = {}) {
  return parse_responses_request(body.dump(), testing::small_limits(), memory, "new");
}
json chat_of(const json& body, const Memory& memory = {}) {
  const auto request = read(body, memory);
  EXPECT_TRUE(request.ok()) << request.error().message;
  return request.ok() ? json::parse(chat_body_of(*request)) : json();
}
json message(const std::string& role, const json& content) {
  return {{"role", role}, {"content", content}};
}

TEST(ResponsesRequest, makes_a_text_and_instructions_messages) {
  const json chat = chat_of({{"input", "a"}, {"instructions", "s"}, {"max_output_tokens", 5}, {"top_k", 3}});
  EXPECT_EQ(chat["messages"], json::array({message("system", "s"), message("user", "a")}));
  EXPECT_EQ(chat["max_completion_tokens"], 5);
  EXPECT_EQ(chat["top_k"], 3);
}

TEST(ResponsesRequest, gathers_what_the_assistant_did_in_one_message) {
  const json chat =
      chat_of({{"input",
                {{{"role", "user"}, {"content", {{{"type", "input_text"}, {"text", "a"}}}}},
                 {{"type", "reasoning"}, {"content", {{{"type", "reasoning_text"}, {"text", "hm"}}}}},
                 {{"type", "message"},
                  {"role", "assistant"},
                  {"content", {{{"type", "output_text"}, {"text", "b"}}}}},
                 {{"type", "function_call"}, {"call_id", "1"}, {"name", "f"}, {"arguments", "{\"x\":1}"}},
                 {{"type", "function_call"}, {"call_id", "2"}, {"name", "g"}, {"arguments", "{}"}},
                 {{"type", "function_call_output"}, {"call_id", "1"}, {"output", "one"}},
                 {{"type", "function_call_output"},
                  {"call_id", "2"},
                  {"output", {{{"type", "input_text"}, {"text", "two"}}}}},
                 {{"role", "assistant"}, {"content", "c"}},
                 {{"role", "assistant"}, {"content", "d"}}}}});
  const json& turns = chat["messages"];
  ASSERT_EQ(turns.size(), 6U);
  EXPECT_EQ(turns[1]["content"], "b");
  EXPECT_EQ(turns[1]["reasoning_content"], "hm");
  EXPECT_EQ(turns[1]["tool_calls"].size(), 2U);
  EXPECT_EQ(turns[1]["tool_calls"][1]["function"]["name"], "g");
  EXPECT_EQ(turns[2], json({{"role", "tool"}, {"tool_call_id", "1"}, {"content", "one"}}));
  EXPECT_EQ(turns[3]["content"], "two");
  EXPECT_EQ(turns[4], message("assistant", "c"));
  EXPECT_EQ(turns[5], message("assistant", "d"));
}

TEST(ResponsesRequest, goes_on_from_earlier_turns_without_their_instructions) {
  Memory memory;
  auto first = std::make_shared<ResponseTurn>();
  first->items = R"({"type":"message","role":"user","content":"a"},{"role":"assistant","content":"b"})";
  auto second = std::make_shared<ResponseTurn>();
  second->items = R"({"role":"user","content":"c"},{"role":"assistant","content":"d"})";
  second->before = first;
  memory.turns["resp_2"] = second;
  const json body = {{"input", "e"}, {"instructions", "s"}, {"previous_response_id", "resp_2"}};
  const json turns = chat_of(body, memory)["messages"];
  ASSERT_EQ(turns.size(), 6U);
  EXPECT_EQ(turns[0], message("system", "s"));
  EXPECT_EQ(turns[1], message("user", "a"));
  EXPECT_EQ(turns[5], message("user", "e"));
  const auto request = read(body, memory);
  // Its own input alone is listed, with an id.
  EXPECT_EQ(json::parse(request->input_items)["content"][0]["text"], "e");
  EXPECT_THAT(json::parse(request->input_items)["id"].get<std::string>(), HasSubstr("msg_new"));
  EXPECT_EQ(read({{"input", "x"}, {"previous_response_id", "resp_9"}}, memory).error().code,
            ErrorCode::kNotFound);
}

TEST(ResponsesRequest, looks_up_items_by_reference) {
  Memory memory;
  memory.items["msg_1"] = R"({"id":"msg_1","type":"message","role":"assistant","content":"b"})";
  const json reference = {{"type", "item_reference"}, {"id", "msg_1"}};
  EXPECT_EQ(chat_of({{"input", {reference, message("user", "c")}}}, memory)["messages"],
            json::array({message("assistant", "b"), message("user", "c")}));
}

TEST(ResponsesRequest, drops_the_oldest_messages_but_not_the_instructions) {
  const auto request =
      read({{"input", {message("user", "a"), message("assistant", "b"), message("user", "c")}},
            {"instructions", "s"},
            {"truncation", "auto"}});
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(request->truncate);
  EXPECT_EQ(json::parse(chat_body_of(*request, 2))["messages"],
            json::array({message("system", "s"), message("user", "c")}));
}

TEST(ResponsesRequest, makes_flat_tools_functions_and_narrows_them_to_those_allowed) {
  const json tools = {
      {{"type", "function"}, {"name", "f"}, {"parameters", {{"type", "object"}}}, {"strict", true}},
      {{"type", "function"}, {"name", "g"}}};
  json chat =
      chat_of({{"input", "x"}, {"tools", tools}, {"tool_choice", {{"type", "function"}, {"name", "g"}}}});
  EXPECT_EQ(chat["tools"][0]["function"]["strict"], true);
  EXPECT_EQ(chat["tool_choice"]["name"], "g");
  const json allowed = {
      {"type", "allowed_tools"}, {"mode", "required"}, {"tools", {{{"type", "function"}, {"name", "g"}}}}};
  chat = chat_of({{"input", "x"}, {"tools", tools}, {"tool_choice", allowed}});
  EXPECT_EQ(chat["tool_choice"], "required");
  ASSERT_EQ(chat["tools"].size(), 1U);
  EXPECT_EQ(chat["tools"][0]["function"]["name"], "g");
}

TEST(ResponsesRequest, names_unknown_fields_and_repeats_known_ones) {
  const auto request = read({{"input", "x"}, {"brightness", 3}, {"metadata", {{"k", "v"}}}});
  ASSERT_TRUE(request.ok());
  EXPECT_THAT(request->ignored, ElementsAre("brightness"));
  const json echo = json::parse("{" + request->echo.substr(1) + "}");
  EXPECT_EQ(echo["metadata"], (json{{"k", "v"}}));
  EXPECT_EQ(echo["tool_choice"], "auto");
  EXPECT_EQ(echo["text"]["format"]["type"], "text");
}

struct Told {
  std::unique_ptr<AnswerFormat> format;
  std::vector<FinishedResponse> kept;
  std::string out;
  explicit Told(bool logprobs = false)
      : format(responses_answer({"7", "m", 1, R"(,"metadata":{})"}, logprobs,
                                [this](FinishedResponse response) { kept.push_back(std::move(response)); })) {
  }
  std::vector<json> events() const {
    std::vector<json> events;
    for (size_t at = 0; at < out.size();) {
      const size_t begin = out.find("\ndata: ", at) + 7, end = out.find("\n\n", at);
      events.push_back(json::parse(out.substr(begin, end - begin)));
      EXPECT_EQ(out.substr(at, begin - 7 - at), "event: " + events.back()["type"].get<std::string>());
      EXPECT_EQ(events.back()["sequence_number"], events.size() - 1);
      at = end + 2;
    }
    return events;
  }
};

TEST(ResponsesAnswer, tells_thoughts_text_and_calls_as_items_in_order) {
  Told told;
  const ChoiceEnd end{"tool_calls"};
  told.format->append_opening(told.out, 0, {});
  told.format->append_delta(told.out, {.reasoning = "hm"}, nullptr, nullptr);
  told.format->append_delta(told.out, {.text = "a"}, nullptr, nullptr);
  told.format->append_delta(told.out, {.text = "b"}, nullptr, nullptr);
  const std::vector<ToolCallPiece> pieces = {
      {0, "1", "f", ""}, {0, "", "", "{}"}, {1, "2", "g", ""}, {1, "", "", "[1"}};
  told.format->append_delta(told.out, {.end = &end, .tool_calls = pieces}, nullptr, nullptr);
  told.format->append_ending(told.out, {.prompt_tokens = 3, .completion_tokens = 4, .cached_tokens = 2}, {});
  std::vector<std::string> types;
  for (const json& event : told.events()) types.push_back(event["type"].get<std::string>().substr(9));
  EXPECT_THAT(types, ElementsAre("created", "in_progress",  //
                                 "output_item.added", "content_part.added", "reasoning_text.delta",
                                 "reasoning_text.done", "content_part.done", "output_item.done",  //
                                 "output_item.added", "content_part.added", "output_text.delta",
                                 "output_text.delta", "output_text.done", "content_part.done",
                                 "output_item.done",  //
                                 "output_item.added", "function_call_arguments.delta",
                                 "function_call_arguments.done", "output_item.done",  //
                                 "output_item.added", "function_call_arguments.delta",
                                 "function_call_arguments.done", "output_item.done", "completed"));
  const json response = told.events().back()["response"];
  ASSERT_EQ(response["output"].size(), 4U);
  EXPECT_EQ(response["output"][0]["content"][0]["text"], "hm");
  EXPECT_EQ(response["output"][1]["content"][0]["text"], "ab");
  EXPECT_EQ(response["output"][1]["id"], "msg_7_1");
  EXPECT_EQ(response["output"][3]["arguments"], "[1");
  EXPECT_EQ(response["output"][3]["call_id"], "2");
  EXPECT_EQ(response["usage"]["input_tokens_details"]["cached_tokens"], 2);
  ASSERT_EQ(told.kept.size(), 1U);
  EXPECT_EQ(json::parse(told.kept[0].body), response);
  EXPECT_EQ(json::parse("[" + told.kept[0].output + "]"), response["output"]);
}

TEST(ResponsesAnswer, says_the_same_whole) {
  Told told;
  const std::vector<WholeChoice> whole = {
      {.text = "a", .end = {"stop"}, .reasoning = "hm", .tool_calls = {{"1", "f", "{}"}}}};
  const json body = json::parse(told.format->whole(whole, {}, {}));
  EXPECT_EQ(body["status"], "completed");
  ASSERT_EQ(body["output"].size(), 3U);
  EXPECT_EQ(body["output"][2]["name"], "f");
  Told empty;
  const std::vector<WholeChoice> nothing = {{.end = {"stop"}}};
  EXPECT_EQ(json::parse(empty.format->whole(nothing, {}, {}))["output"][0]["content"][0]["text"], "");
}

TEST(ResponsesAnswer, is_incomplete_when_cut_and_failed_when_broken) {
  Told cut;
  const ChoiceEnd end{"length"};
  cut.format->append_delta(cut.out, {.text = "a", .end = &end}, nullptr, nullptr);
  cut.format->append_ending(cut.out, {}, {});
  const json last = cut.events().back();
  EXPECT_EQ(last["type"], "response.incomplete");
  EXPECT_EQ(last["response"]["output"][0]["status"], "incomplete");
  Told failed;
  failed.format->append_delta(failed.out, {.text = "a"}, nullptr, nullptr);
  failed.format->append_error(failed.out, {ErrorCode::kDeadline, "too late"});
  EXPECT_EQ(failed.events().back()["type"], "response.failed");
  EXPECT_EQ(failed.events().back()["response"]["error"]["message"], "too late");
  EXPECT_TRUE(failed.kept.at(0).failed);
}

}  // namespace
}  // namespace sluice
