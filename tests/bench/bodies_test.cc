#include "bench/serve/bodies.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <nlohmann/json.hpp>

namespace sluice::bench {
namespace {

using Json = nlohmann::json;

size_t words_in(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, ' '));
}

BodyMaker maker_of(BodyOptions options, PartSpec part = {}, uint32_t overhead = 0) {
  options.model = "m\"x";
  // Every word is one token: " the the of of …" doubled.
  std::vector<int32_t> ids;
  for (size_t i = 0; i < Lexicon::candidates().size(); ++i) ids.insert(ids.end(), 2, static_cast<int32_t>(i));
  Lexicon lexicon = Lexicon::from_doubled(ids).value();
  lexicon.chat_overhead = lexicon.plain_overhead = overhead;
  auto maker = BodyMaker::make(std::move(options), std::move(lexicon), {std::move(part)});
  EXPECT_TRUE(maker.ok());
  return std::move(maker).value();
}

Session session_of(std::vector<Piece> pieces) {
  Session session;
  session.turns.push_back({.pieces = std::move(pieces), .output_tokens = 7});
  return session;
}

TEST(BodyMaker, a_prompt_has_as_many_tokens_as_asked_with_what_the_server_adds) {
  const BodyMaker maker = maker_of({.endpoint = Endpoint::kChat}, {}, 11);
  const Session session = session_of({{1, 30}, {2, 20}});
  const Json body = Json::parse(maker.body(session, 0, {}));
  EXPECT_EQ(body["model"], "m\"x");
  EXPECT_EQ(body["max_tokens"], 7);
  EXPECT_EQ(body["stream"], true);
  EXPECT_EQ(body["stream_options"]["include_usage"], true);
  EXPECT_EQ(words_in(body["messages"][0]["content"]), 50u - 11);
  EXPECT_EQ(maker.prompt_tokens(session.turns[0]), 50u);
  // The front is what others share, so it stays.
  const Json other = Json::parse(maker.body(session_of({{1, 30}, {3, 20}}), 0, {}));
  const std::string one = body["messages"][0]["content"], two = other["messages"][0]["content"];
  const std::string shared(one.begin(), std::ranges::mismatch(one, two).in1);
  EXPECT_GE(words_in(shared), 30u);
}

TEST(BodyMaker, a_prompt_shorter_than_the_template_is_one_word) {
  const BodyMaker maker = maker_of({.endpoint = Endpoint::kChat}, {}, 11);
  const Json body = Json::parse(maker.body(session_of({{1, 3}, {2, 3}}), 0, {}));
  EXPECT_EQ(words_in(body["messages"][0]["content"]), 1u);
  EXPECT_EQ(maker.prompt_tokens(session_of({{1, 3}, {2, 3}}).turns[0]), 12u);
}

TEST(BodyMaker, completions_can_send_ids) {
  const BodyMaker maker = maker_of({.endpoint = Endpoint::kCompletions, .sends_ids = true}, {}, 1);
  const Json body = Json::parse(maker.body(session_of({{1, 30}, {2, 20}}), 0, {}));
  EXPECT_EQ(body["prompt"].size(), 50u);
  for (const Json& id : body["prompt"]) EXPECT_TRUE(id.is_number_integer());
}

TEST(BodyMaker, a_later_turn_tells_what_was_said) {
  Session session = session_of({{1, 5}});
  session.turns.push_back({.pieces = {{2, 4}}, .output_tokens = 3});
  const BodyMaker maker = maker_of({.endpoint = Endpoint::kChat});
  const Said said = {maker.prompt_text(session.turns[0], true), "I said \"this\"\n"};
  const Json body = Json::parse(maker.body(session, 1, said));
  ASSERT_EQ(body["messages"].size(), 3u);
  EXPECT_EQ(body["messages"][1]["role"], "assistant");
  EXPECT_EQ(body["messages"][1]["content"], said[1]);
  EXPECT_EQ(words_in(body["messages"][2]["content"]), 4u);
  const Json first = Json::parse(maker.body(session, 0, {}));
  EXPECT_EQ(body["messages"][0], first["messages"][0]);
  const BodyMaker plain = maker_of({.endpoint = Endpoint::kCompletions});
  const std::string prompt = Json::parse(plain.body(session, 1, said))["prompt"];
  EXPECT_TRUE(prompt.starts_with(said[0] + said[1]));
}

TEST(BodyMaker, what_the_user_adds_counts) {
  const PartSpec part{.tenant = "acme",
                      .priority = 3,
                      .extra_body = R"({"temperature": 0.7, "max_tokens": 2, "tools": [{"a": 1}]})"};
  const std::string text = maker_of({.endpoint = Endpoint::kChat}, part).body(session_of({{1, 5}}), 0, {});
  const Json body = Json::parse(text);
  EXPECT_EQ(body["temperature"], 0.7);
  EXPECT_EQ(body["max_tokens"], 2);
  EXPECT_EQ(text.find("max_tokens"), text.rfind("max_tokens"));
  EXPECT_EQ(body["user"], "acme");
  EXPECT_EQ(body["priority"], 3);
  EXPECT_EQ(body["tools"][0]["a"], 1);
  EXPECT_FALSE(BodyMaker::make({}, Lexicon(), {{.extra_body = "[1]"}}).ok());
  EXPECT_FALSE(BodyMaker::make({}, Lexicon(), {{.extra_body = "{"}}).ok());
}

TEST(BodyMaker, other_endpoints_have_other_names) {
  const Json responses =
      Json::parse(maker_of({.endpoint = Endpoint::kResponses}).body(session_of({{1, 5}}), 0, {}));
  EXPECT_EQ(responses["max_output_tokens"], 7);
  EXPECT_EQ(responses["input"][0]["role"], "user");
  EXPECT_FALSE(responses.contains("stream_options"));
  const Json vectors =
      Json::parse(maker_of({.endpoint = Endpoint::kEmbeddings}).body(session_of({{1, 5}}), 0, {}));
  EXPECT_EQ(words_in(vectors["input"]), 5u);
  EXPECT_FALSE(vectors.contains("max_tokens"));
  EXPECT_FALSE(vectors.contains("stream"));
}

}  // namespace
}  // namespace sluice::bench
